//! A transcript read back: the chain from its last line to its start or to the last compaction.
//!
//! The file may come from the official command line, from a machine that crashed, or from an attacker: broken lines
//! are skipped, a cycle ends the chain, a file above the limit is refused.

use super::{Body, Entry};
use crate::account::Account;
use crate::conversation::Conversation;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use stream_json::{Block, Content, Role};
use uuid::Uuid;

/// The largest transcript that is resumed.
const MAX_FILE: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    #[error("No conversation found with session ID: {id}")]
    NotFound { id: String },
    #[error("No conversation found to continue")]
    NothingToContinue,
    #[error(
        "Error: --resume requires a valid session ID or session title when used with --print. Provided value \"{value}\" is not a UUID and does not match any session title."
    )]
    NotAnId { value: String },
    #[error("No message found with message.uuid of: {uuid}")]
    NoSuchMessage { uuid: String },
    #[error("The transcript {path} is larger than {MAX_FILE} bytes")]
    TooLarge { path: PathBuf },
    #[error("The transcript {path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
}

/// A session as it was left.
pub(crate) struct Loaded {
    pub(crate) session_id: Option<String>,
    /// Oldest first.
    pub(crate) chain: Vec<Entry>,
    /// Lines that were put into the chain and are no one's ancestors.
    side: HashSet<String>,
    pub(crate) account: Account,
}

impl Loaded {
    /// The line that the next one follows.
    pub(crate) fn leaf(&self) -> Option<String> {
        let mut ancestors = self.chain.iter().filter(|entry| !self.side.contains(&entry.uuid));
        ancestors.next_back().map(|entry| entry.uuid.clone())
    }

    pub(crate) fn conversation(&self) -> Conversation {
        let mut conversation = Conversation::default();
        for entry in &self.chain {
            match &entry.body {
                Body::User { message, .. } => {
                    conversation.push(Role::User, message.content.clone().into_blocks());
                }
                Body::Assistant {
                    is_api_error_message: true,
                    ..
                }
                | Body::System { .. }
                | Body::Attachment {} => {}
                Body::Assistant { message, .. } if message.model == "<synthetic>" => {}
                Body::Assistant { message, .. } => {
                    conversation.push(Role::Assistant, message.content.clone());
                }
            }
        }
        conversation
    }

    /// Cuts the chain after, or before, a message.
    pub(crate) fn cut(&mut self, uuid: &str, keeps_it: bool) -> Result<(), ResumeError> {
        let at = self
            .chain
            .iter()
            .position(|entry| entry.uuid == uuid)
            .ok_or_else(|| ResumeError::NoSuchMessage {
                uuid: uuid.to_owned(),
            })?;
        self.chain.truncate(at + usize::from(keeps_it));
        Ok(())
    }
}

/// The transcript of a session id, of a title, or at a path; `None` asks for the newest.
pub(crate) fn find(project: &Path, name: Option<&str>) -> Result<PathBuf, ResumeError> {
    let Some(name) = name else {
        return newest(project).ok_or(ResumeError::NothingToContinue);
    };
    let has_extension = Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "jsonl");
    if has_extension && Path::new(name).is_file() {
        return Ok(PathBuf::from(name));
    }
    if Uuid::try_parse(name).is_ok() {
        let path = project.join(format!("{name}.jsonl"));
        return if path.is_file() {
            Ok(path)
        } else {
            Err(ResumeError::NotFound { id: name.to_owned() })
        };
    }
    titled(project, name).ok_or_else(|| ResumeError::NotAnId {
        value: name.to_owned(),
    })
}

fn transcripts(project: &Path) -> Vec<(SystemTime, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(project) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let path = entry.path();
            path.extension().is_some_and(|extension| extension == "jsonl")
                && path
                    .file_stem()
                    .and_then(|stem| Uuid::try_parse(stem.to_str()?).ok())
                    .is_some()
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    found
}

fn newest(project: &Path) -> Option<PathBuf> {
    transcripts(project).pop().map(|(_, path)| path)
}

fn titled(project: &Path, title: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Title {
        #[serde(alias = "aiTitle")]
        custom_title: String,
    }
    transcripts(project)
        .into_iter()
        .rev()
        .map(|(_, path)| path)
        .find(|path| {
            File::open(path).is_ok_and(|file| {
                BufReader::new(file.take(MAX_FILE))
                    .lines()
                    .map_while(Result::ok)
                    .filter(|line| line.contains("Title\""))
                    .filter_map(|line| serde_json::from_str::<Title>(&line).ok())
                    .any(|found| found.custom_title == title)
            })
        })
}

pub(crate) fn load(path: &Path) -> Result<Loaded, ResumeError> {
    let unreadable = |source| ResumeError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.len() > MAX_FILE {
        return Err(ResumeError::TooLarge {
            path: path.to_owned(),
        });
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut account = Account::default();
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        if let Ok(entry) = serde_json::from_slice::<Entry>(&line) {
            if !entry.is_sidechain {
                entries.push(entry);
            }
        } else if line.starts_with(b"{\"type\":\"cost-state\"")
            && let Ok(state) = serde_json::from_slice::<Account>(&line)
        {
            account = state.resumed();
        }
        line.clear();
    }
    let session_id = entries
        .last()
        .map(|entry| entry.session_id.clone())
        .filter(|id| Uuid::try_parse(id).is_ok());
    let (chain, side) = chain(entries);
    Ok(Loaded {
        session_id,
        chain,
        side,
        account,
    })
}

/// From the last line back by `parentUuid`, then oldest first; and what was put in from beside it.
fn chain(entries: Vec<Entry>) -> (Vec<Entry>, HashSet<String>) {
    let by_uuid: HashMap<&str, usize> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (entry.uuid.as_str(), index))
        .collect();
    let mut chain = match entries.len().checked_sub(1) {
        Some(last) => ancestors(&entries, &by_uuid, last),
        None => Vec::new(),
    };
    if let Some(last) = end_of_reply(&entries, &by_uuid, &chain) {
        chain = ancestors(&entries, &by_uuid, last);
    }
    let complete = with_side_results(&entries, &chain);
    let own: HashSet<usize> = chain.into_iter().collect();
    let side = complete
        .iter()
        .filter(|index| !own.contains(index))
        .map(|&index| entries[index].uuid.clone())
        .collect();
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let chain = complete
        .into_iter()
        .filter_map(|index| entries[index].take())
        .collect();
    (chain, side)
}

/// A line and what it follows, oldest first.
fn ancestors(entries: &[Entry], by_uuid: &HashMap<&str, usize>, last: usize) -> Vec<usize> {
    let mut chain = Vec::new();
    let mut seen = HashSet::new();
    let mut at = Some(last);
    while let Some(index) = at.filter(|&index| seen.insert(index)) {
        chain.push(index);
        at = parent(entries, by_uuid, index);
    }
    chain.reverse();
    chain
}

fn parent(entries: &[Entry], by_uuid: &HashMap<&str, usize>, index: usize) -> Option<usize> {
    by_uuid.get(entries[index].parent_uuid.as_deref()?).copied()
}

/// The last line of the last reply, where the chain leaves the reply before its end: the official command line hangs a
/// result on its own call, so a session that was killed between two results ends in the middle of the reply.
fn end_of_reply(entries: &[Entry], by_uuid: &HashMap<&str, usize>, chain: &[usize]) -> Option<usize> {
    let at = chain
        .iter()
        .rposition(|&index| matches!(entries[index].body, Body::Assistant { .. }))?;
    let answers_only = chain[at + 1..]
        .iter()
        .all(|&index| results_of(&entries[index]).next().is_some());
    let reply = message_id(&entries[chain[at]]).filter(|id| !id.is_empty() && answers_only)?;
    let mut own: HashSet<usize> = chain[..=at].iter().copied().collect();
    let mut end = None;
    for index in chain[at] + 1..entries.len() {
        let follows = parent(entries, by_uuid, index)
            .is_some_and(|parent| own.contains(&parent) && message_id(&entries[parent]) == Some(reply));
        if follows && message_id(&entries[index]) == Some(reply) {
            own.insert(index);
            end = Some(index);
        }
    }
    end
}

fn message_id(entry: &Entry) -> Option<&str> {
    match &entry.body {
        Body::Assistant { message, .. } => Some(&message.id),
        _ => None,
    }
}

/// The official command line hangs each parallel result on its own call, so that only one of them is on the chain: the
/// others are put in after the last call of their message.
fn with_side_results(entries: &[Entry], chain: &[usize]) -> Vec<usize> {
    let on_chain: HashSet<usize> = chain.iter().copied().collect();
    let mut side: HashMap<&str, usize> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if !on_chain.contains(&index) {
            side.extend(results_of(entry).map(|id| (id, index)));
        }
    }
    let mut complete = Vec::with_capacity(chain.len());
    let mut waiting: Vec<usize> = Vec::new();
    for &index in chain {
        if !matches!(entries[index].body, Body::Assistant { .. }) {
            complete.append(&mut waiting);
        }
        complete.push(index);
        waiting.extend(calls_of(&entries[index]).filter_map(|id| side.remove(id)));
    }
    complete.append(&mut waiting);
    complete
}

fn results_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let blocks = match &entry.body {
        Body::User { message, .. } => match &message.content {
            Content::Blocks(blocks) => blocks.as_slice(),
            Content::Text(_) => &[],
        },
        _ => &[],
    };
    blocks.iter().filter_map(|block| match block {
        Block::ToolResult { tool_use_id, .. } => Some(tool_use_id.as_str()),
        _ => None,
    })
}

fn calls_of(entry: &Entry) -> impl Iterator<Item = &str> {
    let blocks = match &entry.body {
        Body::Assistant { message, .. } => message.content.as_slice(),
        _ => &[],
    };
    blocks.iter().filter_map(|block| match block {
        Block::ToolUse { id, .. } => Some(id.as_str()),
        _ => None,
    })
}

pub(super) fn ends_inside_a_line(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0] != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn user(uuid: &str, parent: Option<&str>, content: &Value) -> Value {
        json!({"type":"user","uuid":uuid,"parentUuid":parent,"sessionId":"5e55a000-0000-4000-8000-000000000001","timestamp":"t",
            "isSidechain":false,"cwd":"/","message":{"role":"user","content":content}})
    }

    fn assistant(uuid: &str, parent: &str, block: &Value) -> Value {
        json!({"type":"assistant","uuid":uuid,"parentUuid":parent,"sessionId":"5e55a000-0000-4000-8000-000000000001",
            "message":{"id":"m","role":"assistant","model":"x","content":[block]}})
    }

    fn load_lines(lines: &[String]) -> Loaded {
        let path = std::env::temp_dir().join(format!("hostler-agent-load-{}.jsonl", Uuid::new_v4()));
        std::fs::write(&path, lines.join("\n")).unwrap();
        let loaded = load(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        loaded
    }

    fn uuids(loaded: &Loaded) -> Vec<&str> {
        loaded.chain.iter().map(|entry| entry.uuid.as_str()).collect()
    }

    #[test]
    fn a_hand_made_file_resumes_and_broken_lines_are_skipped() {
        let loaded = load_lines(&[
            user("u1", None, &json!("hi")).to_string(),
            "{\"type\":\"queue-operation\"}".to_owned(),
            assistant("a1", "u1", &json!({"type":"text","text":"hello"})).to_string(),
            "{\"type\":\"user\",\"uuid\":\"torn".to_owned(),
        ]);
        assert_eq!(uuids(&loaded), ["u1", "a1"]);
        assert_eq!(loaded.conversation().messages().len(), 2);
        assert_eq!(
            loaded.session_id.as_deref(),
            Some("5e55a000-0000-4000-8000-000000000001")
        );
    }

    #[test]
    fn dead_branches_are_left_out_and_cycles_end() {
        let loaded = load_lines(&[
            user("u1", None, &json!("hi")).to_string(),
            assistant("dead", "u1", &json!({"type":"text","text":"cut"})).to_string(),
            assistant("a1", "u1", &json!({"type":"text","text":"whole"})).to_string(),
        ]);
        assert_eq!(uuids(&loaded), ["u1", "a1"]);
        let cycle = load_lines(&[
            user("x", Some("y"), &json!("a")).to_string(),
            user("y", Some("x"), &json!("b")).to_string(),
        ]);
        assert_eq!(uuids(&cycle), ["x", "y"]);
    }

    #[test]
    fn parallel_results_that_hang_on_their_own_calls_are_found() {
        let call = |id: &str| json!({"type":"tool_use","id":id,"name":"Read","input":{}});
        let result = |id: &str| json!([{"type":"tool_result","tool_use_id":id,"content":"x"}]);
        let loaded = load_lines(&[
            user("u1", None, &json!("hi")).to_string(),
            assistant("a1", "u1", &call("t1")).to_string(),
            assistant("a2", "a1", &call("t2")).to_string(),
            user("r1", Some("a1"), &result("t1")).to_string(),
            user("r2", Some("a2"), &result("t2")).to_string(),
        ]);
        assert_eq!(uuids(&loaded), ["u1", "a1", "a2", "r1", "r2"]);
        assert!(loaded.conversation().open_calls().is_empty());
    }

    #[test]
    fn a_reply_that_was_left_between_two_results_is_whole() {
        let call = |id: &str| json!({"type":"tool_use","id":id,"name":"Read","input":{}});
        let result = |id: &str| json!([{"type":"tool_result","tool_use_id":id,"content":"x"}]);
        let lines = [
            user("u1", None, &json!("hi")),
            assistant("a1", "u1", &call("t1")),
            user("r1", Some("a1"), &result("t1")),
            assistant("a2", "a1", &call("t2")),
            assistant("a3", "a2", &call("t3")),
            user("r2", Some("a2"), &result("t2")),
        ];
        let text = |lines: &[Value]| lines.iter().map(Value::to_string).collect::<Vec<_>>();
        for length in [5, 6] {
            let loaded = load_lines(&text(&lines[..length]));
            assert_eq!(
                uuids(&loaded)[..4],
                ["u1", "a1", "a2", "a3"],
                "after {length} lines"
            );
            assert_eq!(
                loaded.leaf().as_deref(),
                Some("a3"),
                "the next line follows the reply"
            );
            let open = loaded.conversation().open_calls();
            assert_eq!(open, if length == 5 { vec!["t2", "t3"] } else { vec!["t3"] });
        }
        // What is written next keeps the reply on the chain for good.
        let mut gone_on = lines.to_vec();
        gone_on.push(user("r3", Some("a3"), &result("t3")));
        gone_on.push(assistant("b1", "r3", &json!({"type":"text","text":"done"})));
        let mut last = gone_on.pop().unwrap();
        last["message"]["id"] = json!("m2");
        gone_on.push(last);
        let loaded = load_lines(&text(&gone_on));
        assert_eq!(loaded.chain.len(), 8);
        assert_eq!(loaded.leaf().as_deref(), Some("b1"));
    }

    #[test]
    fn the_chain_ends_at_a_compaction_and_can_be_cut() {
        let mut loaded = load_lines(&[
            user("old", None, &json!("old")).to_string(),
            json!({"type":"system","subtype":"compact_boundary","uuid":"b","parentUuid":null,"logicalParentUuid":"old","sessionId":"s"}).to_string(),
            user("s", Some("b"), &json!("summary")).to_string(),
            assistant("a", "s", &json!({"type":"text","text":"go on"})).to_string(),
        ]);
        assert_eq!(uuids(&loaded), ["b", "s", "a"]);
        assert!(matches!(
            loaded.cut("old", true),
            Err(ResumeError::NoSuchMessage { .. })
        ));
        loaded.cut("s", true).unwrap();
        assert_eq!(uuids(&loaded), ["b", "s"]);
    }
}

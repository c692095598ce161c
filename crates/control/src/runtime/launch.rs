//! The command line and the first lines of a runtime. Pure.

use crate::settings::RuntimeTemplate;
use domain::Cost;
use guest_protocol::{Framing, Spawn, Stdio};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use stream_json::{ControlRequest, Frame, FrameError, Initialize, Request};
use translate::message;
use translate::toolset::{SERVER, Toolset};
use uuid::Uuid;

/// The `request_id` of the only `initialize`.
pub(crate) const INITIALIZE: &str = "hostler-initialize";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conversation {
    New(Uuid),
    /// One that the sandbox has a transcript of.
    Resumed(Uuid),
    /// One whose transcript is in this file.
    From(String),
}

/// What a start of a runtime is made of, besides the template.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The process's name, new in its session.
    pub process: String,
    pub model: String,
    pub max_turns: Option<u32>,
    /// What is left of the session's budget.
    pub max_cost: Option<Cost>,
    pub token: String,
    pub conversation: Conversation,
    pub tools: Option<Arc<Toolset>>,
    /// Variables of the session's own.
    pub environment: BTreeMap<String, String>,
    pub effort: Option<String>,
    /// Calls at the end of the conversation that are made again; their ids are the runtime's.
    pub run_tool_uses: Option<Vec<String>>,
}

impl Launch {
    pub(crate) fn spawn(self, template: &RuntimeTemplate) -> Spawn {
        let mut argv = vec![template.program.clone()];
        argv.extend(template.arguments.iter().cloned());
        let mut flag = |name: &str, value: String| argv.extend([name.to_owned(), value]);
        flag("--model", self.model);
        if let Some(turns) = self.max_turns {
            flag("--max-turns", turns.to_string());
        }
        if let Some(cost) = self.max_cost {
            flag("--max-budget-usd", cost.usd().to_string());
        }
        match self.conversation {
            Conversation::New(id) => flag("--session-id", id.to_string()),
            Conversation::Resumed(id) => flag("--resume", id.to_string()),
            Conversation::From(path) => flag("--resume", path),
        }
        if let Some(effort) = self.effort {
            flag("--effort", effort);
        }
        if let Some(calls) = self.run_tool_uses {
            flag("--run-tool-uses", calls.join(","));
        }
        let mut settings = template.settings.clone();
        if let Some(toolset) = &self.tools {
            settings.extend(toolset.settings());
            argv.extend(toolset.arguments());
        }
        if !settings.is_empty() {
            argv.extend(["--settings".to_owned(), Value::Object(settings).to_string()]);
        }
        let mut env = self.environment;
        env.extend(template.environment.clone());
        env.insert(template.token_variable.clone(), self.token);
        Spawn {
            id: self.process,
            argv,
            env,
            cwd: Some(template.directory.clone()),
            stdio: Stdio::Pipes,
            framing: Framing::Lines,
        }
    }
}

/// The line that a host begins with.
pub(crate) fn initialize(
    system_prompt: Option<&str>,
    notes: &[String],
    tools: Option<&Toolset>,
) -> Result<Vec<u8>, FrameError> {
    let notes: Vec<String> = notes.iter().map(|note| message::reminder(note)).collect();
    let mut initialize = Initialize {
        system_prompt: system_prompt.map(|text| vec![text.to_owned()]),
        append_system_prompt: (!notes.is_empty()).then(|| notes.join("\n")),
        ..Initialize::default()
    };
    if tools.is_some_and(|toolset| !toolset.custom.is_empty()) {
        initialize.sdk_mcp_servers = Some(vec![SERVER.to_owned()]);
    }
    Frame::ControlRequest(Box::new(ControlRequest {
        request_id: INITIALIZE.to_owned(),
        request: Request::Initialize(Box::new(initialize)),
    }))
    .to_line()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn launch(conversation: Conversation) -> Spawn {
        ready(conversation, None).spawn(&RuntimeTemplate::native())
    }

    fn ready(conversation: Conversation, tools: Option<Arc<Toolset>>) -> Launch {
        Launch {
            process: "runtime-1".to_owned(),
            model: "m".to_owned(),
            max_turns: Some(7),
            max_cost: Some(Cost::from_usd(0.5)),
            token: "hostler-session-x".to_owned(),
            conversation,
            tools,
            environment: [
                ("CI".to_owned(), "1".to_owned()),
                ("HOME".to_owned(), "/root".to_owned()),
            ]
            .into(),
            effort: None,
            run_tool_uses: None,
        }
    }

    #[test]
    fn the_official_program_is_told_everything_in_one_settings_flag() {
        let asking = [("bash".to_owned(), translate::toolset::Permission::AlwaysAsk)];
        let toolset = Toolset {
            built_in: asking.into(),
            ..Toolset::default()
        };
        let launch = ready(Conversation::New(Uuid::nil()), Some(Arc::new(toolset)));
        let spawn = launch.spawn(&RuntimeTemplate::claude());
        assert_eq!(spawn.argv[0], "/.hostler/runtime/claude");
        let at: Vec<_> = (0..spawn.argv.len())
            .filter(|at| spawn.argv[*at] == "--settings")
            .collect();
        let settings: Value = serde_json::from_str(&spawn.argv[at[0] + 1]).unwrap();
        let expected = json!({"permissions": {"ask": ["Bash"]}, "skipWebFetchPreflight": true});
        assert_eq!((at.len(), settings), (1, expected));
        assert_eq!(spawn.env["DISABLE_AUTOUPDATER"], "1");
    }

    #[test]
    fn a_native_runtime_is_started_as_the_process_protocol_says() {
        let spawn = launch(Conversation::New(Uuid::nil()));
        let line = spawn.argv.join(" ");
        let expected = "/.hostler/hostler-agent --output-format stream-json --verbose --input-format stream-json \
             --include-partial-messages --permission-mode bypassPermissions --setting-sources= --model m \
             --max-turns 7 --max-budget-usd 0.5 --session-id 00000000-0000-0000-0000-000000000000";
        assert_eq!(line, expected);
        assert_eq!(spawn.env["ANTHROPIC_API_KEY"], "hostler-session-x");
        assert_eq!(spawn.env["ANTHROPIC_BASE_URL"], "http://127.0.0.2");
        // A session's own variables are there, and do not replace ours.
        assert_eq!((&*spawn.env["CI"], &*spawn.env["HOME"]), ("1", "/home/agent"));
        assert_eq!(
            (spawn.env["IS_SANDBOX"].as_str(), spawn.framing),
            ("1", Framing::Lines)
        );
    }

    #[test]
    fn a_later_start_goes_on_with_the_conversation() {
        let tail = |spawn: Spawn| spawn.argv[spawn.argv.len() - 2..].join(" ");
        let resumed = tail(launch(Conversation::Resumed(Uuid::nil())));
        assert_eq!(resumed, "--resume 00000000-0000-0000-0000-000000000000");
        assert_eq!(
            tail(launch(Conversation::From("/home/agent/a.jsonl".into()))),
            "--resume /home/agent/a.jsonl"
        );
    }

    #[test]
    fn initialize_carries_the_system_prompt() {
        let json: Value = serde_json::from_slice(&initialize(Some("Be brief."), &[], None).unwrap()).unwrap();
        assert_eq!(
            json["request"],
            json!({"subtype":"initialize","systemPrompt":["Be brief."]})
        );
        let json: Value = serde_json::from_slice(&initialize(None, &[], None).unwrap()).unwrap();
        assert_eq!(json["request"], json!({"subtype":"initialize"}));
    }

    #[test]
    fn custom_tools_are_a_server_of_the_hosts() {
        let toolset = Toolset {
            custom: vec![crate::CustomTool {
                name: "weather".into(),
                description: "the weather".into(),
                input_schema: serde_json::Map::new(),
            }],
            ..Toolset::default()
        };
        let line = initialize(None, &["note".into()], Some(&toolset)).unwrap();
        let json: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["request"]["sdkMcpServers"], json!(["custom"]));
        let note = json["request"]["appendSystemPrompt"].as_str().unwrap();
        assert!(note.contains("note"));
    }
}

//! Who has the sessions and the keys: a server, which is asked, or a data directory that nobody uses.

use crate::arguments::DataArgument;
use crate::check::data_directory;
use crate::settings::known_admin_key;
use change_set::printable;
use client::{Client, ClientError, UrlError};
use domain::{SessionId, WorkspaceId};
use hosted::{AdminKey, ServerAddress};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use store::{Instance, InstanceError};
use terminal::text::{one_line, safe};
use terminal::{Environment, Failure};

/// Of what a server says of an error.
const REQUEST_COLUMNS: usize = 60;

pub(crate) enum Reach {
    Server(Box<Server>),
    /// Nobody uses the data directory; it is held while this is.
    Directory(Instance),
    /// There is no data directory yet.
    Nothing {
        data: PathBuf,
    },
}

/// A server, and how it was found.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) client: Client,
    /// That lead another command to the same place.
    pub(crate) flags: String,
    key: String,
    key_is_given: bool,
    workspace: Option<WorkspaceId>,
    found: Found,
}

#[derive(Clone)]
enum Found {
    /// By `HOSTLER_URL`.
    Named,
    /// It holds this data directory, and noted where it listens.
    Holding { data: PathBuf, url: String },
}

#[derive(Debug, thiserror::Error)]
#[error("HOSTLER_URL is set, and HOSTLER_API_KEY is not")]
struct NoKey;

impl Reach {
    /// The server that `HOSTLER_URL` names, unless a data directory was named by a flag; else who has that directory.
    pub(crate) fn find(
        argument: &DataArgument,
        workspace: Option<&WorkspaceId>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let given = environment.server_key.as_deref().map(key).transpose()?;
        if let Some(url) = environment
            .server_url
            .as_ref()
            .filter(|_| argument.data.is_none())
        {
            let key = given.ok_or_else(|| {
                Failure::usage(NoKey)
                    .hint("set HOSTLER_API_KEY to the admin key of that server, or to another of its keys")
            })?;
            let mut server = Server::new(&url.to_string_lossy(), key, true, workspace, Found::Named)?;
            server.flags = flags(argument, workspace);
            return Ok(Self::Server(Box::new(server)));
        }
        let data = data_directory(argument, environment)?;
        if !data.exists() {
            return Ok(Self::Nothing { data });
        }
        match Instance::open(&data) {
            Ok(instance) => Ok(Self::Directory(instance)),
            Err(taken @ InstanceError::Taken { .. }) => {
                let known = match given {
                    Some(_) => None,
                    None => known_admin_key(environment)?,
                };
                let mut server = Server::holding(data, given.or(known.as_deref()), workspace, taken)?;
                server.flags = flags(argument, workspace);
                Ok(Self::Server(Box::new(server)))
            }
            Err(error) => Err(Failure::failed("start", error)),
        }
    }
}

/// The flags that lead another command to the same place.
pub(crate) fn flags(data: &DataArgument, workspace: Option<&WorkspaceId>) -> String {
    let workspace = workspace.map(|workspace| format!(" --workspace {workspace}"));
    let data = data.data.as_ref();
    let data = data.map(|data| format!(" --data {}", quoted(&data.to_string_lossy())));
    workspace.unwrap_or_default() + &data.unwrap_or_default()
}

/// As one word of a shell.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", printable(word.as_bytes()).replace('\'', r"'\''"))
}

/// A key goes through a header.
fn key(text: &OsStr) -> Result<&str, Failure> {
    text.to_str().ok_or_else(|| unfit(UrlError::Key, true))
}

fn unfit(error: UrlError, key_is_given: bool) -> Failure {
    let hint = match &error {
        UrlError::Key if key_is_given => "set HOSTLER_API_KEY again, without quotes or a line end",
        UrlError::Key => {
            "the file admin.key of the data directory is broken: remove it, and start the server again"
        }
        UrlError::Url { .. } | UrlError::Besides => {
            "set HOSTLER_URL to what `hostler serve` prints as ANTHROPIC_BASE_URL"
        }
    };
    Failure::usage(error).hint(hint)
}

impl Server {
    fn new(
        url: &str,
        key: &str,
        key_is_given: bool,
        workspace: Option<&WorkspaceId>,
        found: Found,
    ) -> Result<Self, Failure> {
        let client = client(url, key, workspace).map_err(|error| unfit(error, key_is_given))?;
        Ok(Self {
            client,
            flags: String::new(),
            key: key.to_owned(),
            key_is_given,
            workspace: workspace.cloned(),
            found,
        })
    }

    /// The user who may read the directory may read its admin key too.
    fn holding(
        data: PathBuf,
        given: Option<&str>,
        workspace: Option<&WorkspaceId>,
        taken: InstanceError,
    ) -> Result<Self, Failure> {
        let Some(url) = noted(&data)? else {
            return Err(Failure::failed("start", taken).hint("wait for it to end: it is not a server"));
        };
        let kept = AdminKey::kept(&data).map_err(|error| Failure::failed("start", error))?;
        match given.or_else(|| kept.as_ref().map(AdminKey::reveal)) {
            Some(key) => {
                let found = Found::Holding {
                    data,
                    url: url.clone(),
                };
                Self::new(&url, key, given.is_some(), workspace, found)
            }
            None => Err(Failure::failed("start", taken)
                .hint("set HOSTLER_API_KEY to the key that the server was started with")),
        }
    }

    /// A session, as other commands find it.
    pub(crate) fn named(&self, session: &SessionId) -> String {
        format!("{session}{}", self.flags)
    }

    /// The next server on the same directory may listen elsewhere.
    pub(crate) fn look_again(&mut self) -> Result<(), Failure> {
        let Found::Holding { data, url } = &mut self.found else {
            return Ok(());
        };
        if let Some(now) = noted(data)?.filter(|now| now != url) {
            self.client = client(&now, &self.key, self.workspace.as_ref())
                .map_err(|error| unfit(error, self.key_is_given))?;
            *url = now;
        }
        Ok(())
    }

    /// What the user gets to read.
    pub(crate) fn explain(&self, error: ClientError) -> Failure {
        let hint = self.hint(&error);
        let failure = said(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    fn hint(&self, error: &ClientError) -> Option<String> {
        match error {
            ClientError::Refused { status: 401, .. } if self.key_is_given => {
                Some("HOSTLER_API_KEY must be the server's admin key, or one of `hostler keys create`".to_owned())
            }
            ClientError::Refused { status: 401, .. } => {
                Some("set HOSTLER_API_KEY to the key that the server was started with".to_owned())
            }
            ClientError::Refused { status: 403, .. } => Some(
                "HOSTLER_API_KEY must be the server's admin key; every other key opens its own workspace alone".to_owned(),
            ),
            ClientError::Refused { status: 429, .. } => Some("wait a moment, and try again".to_owned()),
            ClientError::Refused { status: 503, .. } => Some("the server begins or ends: try again".to_owned()),
            ClientError::Unreachable(_) | ClientError::NotOurs { .. } | ClientError::Silent { .. } => {
                Some(self.where_to_look())
            }
            _ => None,
        }
    }

    fn where_to_look(&self) -> String {
        match &self.found {
            Found::Named => "check HOSTLER_URL, and that the server runs there (`hostler serve`)".to_owned(),
            Found::Holding { data, url } => format!(
                "{} is held by a server that noted {} as its address: see whether it is well",
                data.display(),
                one_line(url, 200)
            ),
        }
    }
}

fn client(url: &str, key: &str, workspace: Option<&WorkspaceId>) -> Result<Client, UrlError> {
    let client = Client::new(url, key)?;
    Ok(match workspace {
        Some(workspace) => client.in_workspace(workspace),
        None => client,
    })
}

fn noted(data: &Path) -> Result<Option<String>, Failure> {
    ServerAddress::read(data).map_err(|error| Failure::failed("start", error))
}

/// In the server's words, which are not ours, with the name of the request in its log.
fn said(error: ClientError) -> Failure {
    let id = match &error {
        ClientError::Refused { request_id, .. } => request_id.clone(),
        _ => None,
    };
    let failure = Failure::failed("server", error);
    let mut message = safe(&failure.message);
    if let Some(id) = id {
        message = format!("{message} (request {})", one_line(&id, REQUEST_COLUMNS));
    }
    Failure { message, ..failure }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_path_is_one_word_whatever_it_is_called() {
        for (path, word) in [
            ("/var/lib/hostler", "/var/lib/hostler"),
            ("", "''"),
            ("/a b", "'/a b'"),
            ("/it's $(x)", r"'/it'\''s $(x)'"),
        ] {
            assert_eq!(quoted(path), word);
        }
    }
}

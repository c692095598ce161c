//! `hostler keys`: who may use the API of a server.

mod place;

use crate::arguments::KeysCommand;
use crate::reach::flags;
use place::Place;
use serde::Serialize;
use terminal::text::{minute, one_line};
use terminal::{Environment, Failure, Signals, Terminal};
use wire::keys::{Create, Created, Key};

const NAME_COLUMNS: usize = 40;

pub(crate) async fn keys(
    command: &KeysCommand,
    environment: &Environment,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    check(command)?;
    let place = Place::find(command.data(), environment).await?;
    let outcome = tokio::select! {
        outcome = perform(command, &place, terminal) => outcome,
        _ = signals.next() => Err(interrupted(command)),
    };
    place.close().await;
    outcome
}

async fn perform(command: &KeysCommand, place: &Place, terminal: &mut Terminal) -> Result<(), Failure> {
    match command {
        KeysCommand::Create {
            workspace,
            name,
            json,
            ..
        } => {
            let create = Create {
                name: name.clone(),
                workspace_id: Some(workspace.clone()),
            };
            create_key(place, create, *json, terminal).await
        }
        KeysCommand::List { json, .. } => list(place, *json, terminal).await,
        KeysCommand::Revoke { key, .. } => {
            let revoked = place.revoke(key).await?;
            terminal.line(&format!("{} opens nothing any more", revoked.id));
            Ok(())
        }
    }
}

fn interrupted(command: &KeysCommand) -> Failure {
    let failure = Failure::interrupted();
    if let KeysCommand::List { .. } = command {
        return failure;
    }
    let flags = flags(command.data(), None);
    failure.hint(format!(
        "it may be done: hostler keys list{flags} says whether it is"
    ))
}

fn check(command: &KeysCommand) -> Result<(), Failure> {
    let KeysCommand::Create { name: Some(name), .. } = command else {
        return Ok(());
    };
    let most = wire::keys::NAME_CHARACTERS;
    if (1..=most).contains(&name.chars().count()) && !name.contains('\0') {
        return Ok(());
    }
    Err(Failure {
        kind: "usage",
        message: format!("the name of a key has 1 to {most} characters"),
        hint: None,
        exit: crate::Exit::Usage,
    })
}

/// The key alone goes to standard output, so that it can be put where it belongs without being seen.
async fn create_key(
    place: &Place,
    create: Create,
    json: bool,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let Created { key, secret } = place.create(create).await?;
    if json {
        print(terminal, [&Created { key, secret }]);
        return Ok(());
    }
    terminal.output(format!("{secret}\n").as_bytes());
    terminal.line(&format!(
        "{} for the workspace {}; it is not shown again",
        key.id, key.workspace_id
    ));
    Ok(())
}

async fn list(place: &Place, json: bool, terminal: &mut Terminal) -> Result<(), Failure> {
    let keys = place.list().await?;
    if json {
        print(terminal, &keys);
        return Ok(());
    }
    if keys.is_empty() {
        terminal.line("no keys but the admin key");
        return Ok(());
    }
    let mut lines = vec![format!(
        "{:<30}  {:<8}  {:<16}  {:<16}  {:<16}  NAME",
        "ID", "KEY", "WORKSPACE", "CREATED (UTC)", "LAST USED"
    )];
    lines.extend(keys.iter().map(row));
    lines.push(String::new());
    terminal.output(lines.join("\n").as_bytes());
    Ok(())
}

fn row(key: &Key) -> String {
    let used = match (key.revoked_at, key.last_used_at) {
        (Some(_), _) => "revoked".to_owned(),
        (None, None) => "never".to_owned(),
        (None, Some(at)) => minute(at),
    };
    format!(
        "{:<30}  {:<8}  {:<16}  {:<16}  {used:<16}  {}",
        key.id.as_str(),
        format!("{}…", key.prefix),
        key.workspace_id.as_str(),
        minute(key.created_at),
        one_line(key.name.as_deref().unwrap_or_default(), NAME_COLUMNS)
    )
    .trim_end()
    .to_owned()
}

fn print<'a, T: Serialize + 'a>(terminal: &mut Terminal, objects: impl IntoIterator<Item = &'a T>) {
    for object in objects {
        let line = serde_json::to_string(object).unwrap_or_default();
        terminal.output(format!("{line}\n").as_bytes());
    }
}

//! A session's reader: comes back after each cut from where it was, and keeps what it was shown.

use crate::standing::Standing;
use serde_json::Value;
use stage::{Api, Following};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PAUSE: Duration = Duration::from_millis(50);

/// Every event that was shown, in the order in which it was.
pub(crate) async fn read(
    api: Api,
    session: String,
    mut following: Option<Following>,
    standing: watch::Sender<Standing>,
    stop: CancellationToken,
) -> Vec<Value> {
    let mut shown: Vec<Value> = Vec::new();
    let mut last: Option<String> = None;
    loop {
        let stream = if let Some(stream) = &mut following {
            stream
        } else {
            let opened = tokio::select! {
                () = stop.cancelled() => return shown,
                opened = Following::open(&api, &session, last.as_deref()) => opened,
            };
            if let Ok(opened) = opened {
                following.insert(opened)
            } else {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let record = tokio::select! {
            () = stop.cancelled() => return shown,
            record = stream.next() => record,
        };
        // Ended or cut: it comes back.
        let Ok(record) = record else {
            following = None;
            continue;
        };
        // Previews are no events.
        let Some(id) = record.id else { continue };
        let event = serde_json::from_str(&record.json).unwrap_or(Value::String(record.json));
        standing.send_modify(|standing| standing.saw(&event));
        shown.push(event);
        last = Some(id);
    }
}

//! A session, and those who work on it: a writer, a reader, and whoever allows its calls.

use crate::check::{self, PATIENCE};
use crate::random::Random;
use crate::reader::read;
use crate::standing::Standing;
use crate::verdict::{Broken, Evidence};
use crate::writer::{Allowed, Writer, Written, allow};
use serde_json::Value;
use stage::{Api, Failure, Following, Made};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) struct Subject {
    pub(crate) session: String,
    api: Api,
    standing: watch::Receiver<Standing>,
    writer: AbortOnDropHandle<Written>,
    allower: AbortOnDropHandle<Allowed>,
    reader: AbortOnDropHandle<Vec<Value>>,
    /// How many events there were before the reader.
    began_at: usize,
    /// Of the writer, and of the others, which go on a little.
    no_more: CancellationToken,
    over: CancellationToken,
}

/// What is known of a session, and what its clients count.
pub(crate) struct Known {
    pub(crate) evidence: Evidence,
    /// Messages that the server would not take.
    pub(crate) refused: Vec<Broken>,
}

impl Subject {
    /// A new session, with everybody at work on it.
    pub(crate) async fn begin(api: Api, made: &Made, number: usize, random: Random) -> Result<Self, Failure> {
        let session = api.session(made, None).await?;
        let began_at = api.events(&session).await?.len();
        // Open before there is anything more to see.
        let following = Following::open(&api, &session, None).await?;
        let (sender, standing) = watch::channel(Standing {
            idle: true,
            ..Standing::default()
        });
        let (no_more, over) = (CancellationToken::new(), CancellationToken::new());
        let writer = Writer {
            api: api.clone(),
            session: session.clone(),
            number,
            standing: standing.clone(),
            random,
        };
        let allowing = allow(api.clone(), session.clone(), standing.clone(), over.clone());
        let reading = read(
            api.clone(),
            session.clone(),
            Some(following),
            sender,
            over.clone(),
        );
        Ok(Self {
            writer: AbortOnDropHandle::new(tokio::spawn(writer.run(no_more.clone()))),
            allower: AbortOnDropHandle::new(tokio::spawn(allowing)),
            reader: AbortOnDropHandle::new(tokio::spawn(reading)),
            began_at,
            session,
            api,
            standing,
            no_more,
            over,
        })
    }

    /// No more jobs; what is under way goes on.
    pub(crate) fn no_more(&self) {
        self.no_more.cancel();
    }

    /// Everything that is known, once the session is idle.
    pub(crate) async fn over(self) -> Result<Known, Failure> {
        let written = joined(self.writer).await?;
        let gathered = check::gather(&self.api, &self.session, self.standing).await?;
        self.over.cancel();
        let allowed = joined(self.allower).await?;
        let shown = joined(self.reader).await?;
        let refused = written.refused.into_iter().map(|refused| Broken {
            session: self.session.clone(),
            event: None,
            what: format!("a message was refused: {refused}"),
        });
        let acknowledged = [written.acknowledged, allowed.acknowledged, gathered.asked].concat();
        Ok(Known {
            refused: refused.collect(),
            evidence: Evidence {
                session: self.session,
                log: gathered.log,
                acknowledged,
                unanswered: written.unanswered,
                refused: allowed.refused,
                began_at: self.began_at,
                shown,
                lines: gathered.lines,
            },
        })
    }
}

async fn joined<T>(task: AbortOnDropHandle<T>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(Failure::Late {
            what: "a client of the bench comes to its end".to_owned(),
            seconds: PATIENCE.as_secs(),
        }),
    }
}

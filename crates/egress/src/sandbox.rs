//! What the listeners of one sandbox share: its rules, its names, and the one place that writes to the audit.

use crate::meter::Meter;
use crate::names::Names;
use crate::rate::Rate;
use crate::tasks::Tasks;
use crate::{Audit, AuditEntry, Config, Resolve, Traffic, Transport};
use domain::SessionId;
use policy::{Destination, MatchedRule, Rules};
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;
use tokio::time::Instant;

/// The longest host that is audited: a name that was not checked may be anything.
const MAX_AUDITED_HOST: usize = 253;

pub(crate) struct Sandbox {
    pub(crate) session: SessionId,
    pub(crate) rules: Rules,
    pub(crate) config: Arc<Config>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) names: Names,
    pub(crate) tasks: Tasks,
    audit: Arc<dyn Audit>,
    refusals: Mutex<Refusals>,
}

struct Refusals {
    rate: Rate,
    uncounted: u64,
}

impl Sandbox {
    pub(crate) fn new(
        session: SessionId,
        rules: Rules,
        config: Arc<Config>,
        resolver: Arc<dyn Resolve>,
        audit: Arc<dyn Audit>,
    ) -> Self {
        let rate = Rate::new(config.audited_refusals_per_second, Instant::now());
        Self {
            session,
            rules,
            names: Names::new(config.max_names, config.name_lifetime),
            config,
            resolver,
            tasks: Tasks::default(),
            audit,
            refusals: Mutex::new(Refusals { rate, uncounted: 0 }),
        }
    }

    /// Audits an allowed connection; its end is audited when the account is dropped.
    pub(crate) fn open_account(
        self: &Arc<Self>,
        transport: Transport,
        destination: &Destination,
        rule: Option<MatchedRule>,
    ) -> Account {
        let account = Account {
            sandbox: Arc::clone(self),
            transport,
            destination: destination.clone(),
            rule: rule.map(|rule| rule.text),
            meter: None,
            end: None,
        };
        account.record("a rule allows it".to_owned(), None);
        account
    }

    pub(crate) fn audit_name(&self, name: &str, rule: Option<String>) {
        self.audit
            .record(self.entry(Transport::Dns, (name, 53), rule, "a rule is about it".to_owned()));
    }

    pub(crate) fn refuse(&self, transport: Transport, destination: &Destination, reason: &str) {
        self.refuse_text(transport, &destination.host.to_string(), destination.port, reason);
    }

    /// The host may be anything that a client sent.
    pub(crate) fn refuse_text(&self, transport: Transport, host: &str, port: u16, reason: &str) {
        let unrecorded = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.rate.take(Instant::now()).is_err() {
                refusals.uncounted += 1;
                return;
            }
            std::mem::take(&mut refusals.uncounted)
        };
        let reason = match unrecorded {
            0 => reason.to_owned(),
            count => format!("{reason} ({count} refusals before it were too many to record)"),
        };
        let host: String = host.escape_default().take(MAX_AUDITED_HOST).collect();
        self.audit
            .record(self.entry(transport, (&host, port), None, reason));
    }

    fn entry(
        &self,
        transport: Transport,
        (host, port): (&str, u16),
        rule: Option<String>,
        reason: String,
    ) -> AuditEntry {
        AuditEntry {
            session: self.session.clone(),
            time: OffsetDateTime::now_utc(),
            transport,
            host: host.to_owned(),
            port,
            allowed: rule.is_some(),
            rule,
            reason,
            traffic: None,
        }
    }
}

/// One allowed connection in the audit.
pub(crate) struct Account {
    sandbox: Arc<Sandbox>,
    transport: Transport,
    destination: Destination,
    rule: Option<String>,
    meter: Option<Arc<Meter>>,
    end: Option<String>,
}

impl Account {
    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Counts what passes there.
    pub(crate) fn attach(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// Why the connection ended; the first reason stays.
    pub(crate) fn end(&mut self, reason: impl Into<String>) {
        self.end.get_or_insert_with(|| reason.into());
    }

    fn record(&self, reason: String, traffic: Option<Traffic>) {
        let host = self.destination.host.to_string();
        let entry = self.sandbox.entry(
            self.transport,
            (&host, self.destination.port),
            self.rule.clone(),
            reason,
        );
        self.sandbox.audit.record(AuditEntry {
            allowed: true,
            traffic,
            ..entry
        });
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let traffic = self
            .meter
            .as_ref()
            .map(|meter| meter.traffic())
            .unwrap_or_default();
        let reason = self.end.take().unwrap_or_else(|| "cut".to_owned());
        self.record(reason, Some(traffic));
    }
}

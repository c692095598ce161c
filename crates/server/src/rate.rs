//! How often a key may come: a bucket a key and class, which is full after a quiet minute and refills evenly.

use crate::api_error::ApiError;
use crate::config::Rates;
use hosted::Caller;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const SECONDS: f64 = 60.0;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Create,
    Environments,
    Other,
}

/// As many buckets as keys that were right, three times.
pub(crate) struct Meter {
    rates: Rates,
    buckets: Mutex<HashMap<(Caller, Class), Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Meter {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            buckets: Mutex::default(),
        }
    }

    /// Counts a request, or says when to come again.
    pub(crate) fn admit(&self, caller: &Caller, class: Class, now: Instant) -> Result<(), ApiError> {
        let (most, what) = match class {
            Class::Create => (self.rates.create, "requests that create something"),
            Class::Environments => (self.rates.environments, "requests about environments"),
            Class::Other => (self.rates.other, "requests"),
        };
        let full = f64::from(most);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets
            .entry((caller.clone(), class))
            .or_insert(Bucket { left: full, at: now });
        let refilled = now.saturating_duration_since(bucket.at).as_secs_f64() / SECONDS * full;
        bucket.left = (bucket.left + refilled).min(full);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - bucket.left) / full * SECONDS).ceil().max(1.0);
        let wait = if wait.is_finite() {
            wait as u64
        } else {
            SECONDS as u64
        };
        Err(ApiError::rate_limit(
            format!("this key made more than {most} {what} in a minute: wait {wait} s"),
            wait,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_refills_and_is_a_key_s_own() {
        let meter = Meter::new(Rates {
            create: 2,
            environments: 0,
            other: 60,
        });
        let key = |name: &str| Caller::Key {
            id: domain::KeyId::random(),
            workspace: name.parse().unwrap(),
        };
        let (one, two) = (key("one"), key("two"));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let create = |seconds| meter.admit(&one, Class::Create, at(seconds));
        assert!(create(0).is_ok());
        assert!(create(0).is_ok());
        let reply = create(0)
            .unwrap_err()
            .into_reply(&crate::request_id::RequestId::random());
        assert_eq!(reply.status(), 429);
        assert_eq!(reply.headers()["retry-after"], "30");
        assert!(meter.admit(&two, Class::Create, at(0)).is_ok());
        assert!(meter.admit(&one, Class::Other, at(0)).is_ok());
        assert!(meter.admit(&one, Class::Environments, at(3600)).is_err());
        assert!(create(31).is_ok());
        assert!(create(31).is_err());
        assert!(create(3600).is_ok());
        assert!(create(3600).is_ok());
        assert!(create(3600).is_err());
    }
}

//! The standard variables of OpenTelemetry, read once and checked before anything starts.
//!
//! A variable that is empty is not set. Of each that is for all signals, the one that is for traces comes first. A
//! value that cannot be used is an error that names its variable, and says what to set; values that may be secret are
//! not repeated.

use crate::sampling;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::time::Duration;

const ENDPOINT: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOL: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const COMPRESSION: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SERVICE: &str = "OTEL_SERVICE_NAME";
/// More spans than anybody waits for, and as many as fit into memory.
const MAX_QUEUE: u64 = 1 << 20;

/// Where traces go, and how many.
#[derive(Clone)]
pub struct Settings {
    /// Of the traces themselves.
    pub(crate) endpoint: String,
    pub(crate) encoding: Encoding,
    /// As they are sent.
    pub(crate) headers: HeaderMap,
    /// For one batch with all its tries.
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
    pub(crate) sampler: Sampler,
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) batches: Batches,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

/// `OTEL_BSP_…`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batches {
    /// Spans that wait; more are lost.
    pub(crate) queue: usize,
    pub(crate) spans: usize,
    /// From a batch's first span to its export, if it is not full before.
    pub(crate) delay: Duration,
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}{value} {reason}")]
pub struct SettingsError {
    variable: &'static str,
    /// With its sign; nothing where it may be secret.
    value: String,
    reason: String,
}

/// What is asked for the value of a variable.
pub(crate) struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Settings {
    /// Nothing where no traces are wanted.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, SettingsError> {
        let variables = Variables(&get);
        if variables
            .text(DISABLED)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return Ok(None);
        }
        match variables.text(EXPORTER).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return Err(SettingsError::value(
                    EXPORTER,
                    other,
                    "is no exporter of hostler: use otlp or none",
                ));
            }
        }
        let Some(endpoint) = endpoint(&variables)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            endpoint,
            encoding: encoding(&variables)?,
            headers: headers(&variables)?,
            timeout: variables.milliseconds(TIMEOUT, 10_000)?,
            gzip: gzip(&variables)?,
            sampler: sampling::read(&variables)?,
            resource: resource(&variables)?,
            batches: batches(&variables)?,
        }))
    }

    /// The collector's host, for people; the rest of its URL may be secret.
    pub fn collector(&self) -> &str {
        let after = self.endpoint.split_once("://").map_or("", |(_, rest)| rest);
        after.split(['/', '?']).next().unwrap_or_default()
    }
}

impl fmt::Debug for Settings {
    /// Never with headers and the like, which hold keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("collector", &self.collector())
            .finish_non_exhaustive()
    }
}

impl SettingsError {
    pub(crate) fn value(variable: &'static str, value: &str, reason: impl Into<String>) -> Self {
        let shown: String = value.chars().take(100).collect();
        Self {
            variable,
            value: format!("={shown:?}"),
            reason: reason.into(),
        }
    }

    fn secret(variable: &'static str, reason: impl Into<String>) -> Self {
        Self {
            variable,
            value: String::new(),
            reason: reason.into(),
        }
    }
}

impl Variables<'_> {
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = (self.0)(name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// The first that is set, with its name.
    fn first(&self, names: [&'static str; 2]) -> Option<(&'static str, String)> {
        names
            .into_iter()
            .find_map(|name| self.text(name).map(|value| (name, value)))
    }

    fn milliseconds(&self, names: [&'static str; 2], default: u64) -> Result<Duration, SettingsError> {
        let number = match self.first(names) {
            Some((name, text)) => number(name, &text, u64::from(u32::MAX))?,
            None => default,
        };
        Ok(Duration::from_millis(number))
    }

    fn number(&self, name: &'static str, default: u64, most: u64) -> Result<u64, SettingsError> {
        self.text(name)
            .map_or(Ok(default), |text| number(name, &text, most))
    }
}

fn number(name: &'static str, text: &str, most: u64) -> Result<u64, SettingsError> {
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(SettingsError::value(
            name,
            text,
            format!("is not a whole number from 1 to {most}"),
        )),
    }
}

/// That of all signals is a base, and that of traces is used as it is.
fn endpoint(variables: &Variables<'_>) -> Result<Option<String>, SettingsError> {
    let Some((name, value)) = variables.first(ENDPOINT) else {
        return Ok(None);
    };
    let wrong = || {
        SettingsError::secret(
            name,
            "is no URL of a collector: set it to one like http://127.0.0.1:4318",
        )
    };
    let uri: Uri = value.parse().map_err(|_| wrong())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().filter(|_| is_http).ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err(SettingsError::secret(
            name,
            "holds a user or a password: put them into OTEL_EXPORTER_OTLP_HEADERS",
        ));
    }
    Ok(Some(if name == ENDPOINT[0] {
        value
    } else {
        format!("{}/v1/traces", value.trim_end_matches('/'))
    }))
}

fn encoding(variables: &Variables<'_>) -> Result<Encoding, SettingsError> {
    let Some((name, value)) = variables.first(PROTOCOL) else {
        return Ok(Encoding::Protobuf);
    };
    match value.as_str() {
        "http/protobuf" => Ok(Encoding::Protobuf),
        "http/json" => Ok(Encoding::Json),
        "grpc" => Err(SettingsError::value(
            name,
            &value,
            "is not spoken by hostler: set it to http/protobuf, and the endpoint to the collector's port for HTTP, \
             which is 4318 where gRPC has 4317",
        )),
        _ => Err(SettingsError::value(
            name,
            &value,
            "is no protocol of OTLP that hostler speaks: use http/protobuf or http/json",
        )),
    }
}

fn gzip(variables: &Variables<'_>) -> Result<bool, SettingsError> {
    match variables.first(COMPRESSION) {
        None => Ok(false),
        Some((_, value)) if value == "none" => Ok(false),
        Some((_, value)) if value == "gzip" => Ok(true),
        Some((name, value)) => Err(SettingsError::value(
            name,
            &value,
            "is not known here: use gzip or none",
        )),
    }
}

fn headers(variables: &Variables<'_>) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    let Some((name, value)) = variables.first(HEADERS) else {
        return Ok(headers);
    };
    for (key, value) in pairs(name, &value)? {
        let (Ok(key), Ok(value)) = (key.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
            return Err(SettingsError::secret(
                name,
                "holds what is no header of HTTP: use name=value,name=value with other characters as %XX",
            ));
        };
        headers.insert(key, value);
    }
    Ok(headers)
}

fn resource(variables: &Variables<'_>) -> Result<Vec<(String, String)>, SettingsError> {
    let mut resource = vec![
        ("service.name".to_owned(), "hostler".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if let Some(value) = variables.text(RESOURCE) {
        resource.extend(pairs(RESOURCE, &value)?);
    }
    if let Some(name) = variables.text(SERVICE) {
        resource.push(("service.name".to_owned(), name));
    }
    Ok(resource)
}

/// `name=value,name=value`, with values percent-encoded.
fn pairs(name: &'static str, text: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let wrong = || {
        SettingsError::secret(
            name,
            "is not of the form name=value,name=value, with other characters as %XX",
        )
    };
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            let value = percent_decode_str(value.trim()).decode_utf8();
            let value = value.map_err(|_| wrong())?;
            match key.trim() {
                "" => Err(wrong()),
                key => Ok((key.to_owned(), value.into_owned())),
            }
        })
        .collect()
}

fn batches(variables: &Variables<'_>) -> Result<Batches, SettingsError> {
    let most = u64::from(u32::MAX);
    let queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048, MAX_QUEUE)?;
    let spans = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, MAX_QUEUE)?;
    let delay = variables.number("OTEL_BSP_SCHEDULE_DELAY", 5000, most)?;
    let timeout = variables.number("OTEL_BSP_EXPORT_TIMEOUT", 30_000, most)?;
    Ok(Batches {
        queue: queue as usize,
        spans: spans.min(queue) as usize,
        delay: Duration::from_millis(delay),
        timeout: Duration::from_millis(timeout),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        Settings::read(|name| {
            let found = variables.iter().find(|(named, _)| *named == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn with(variables: &[(&str, &str)]) -> Settings {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        read(&[&[endpoint], variables].concat()).unwrap().unwrap()
    }

    fn refused(name: &str, value: &str) -> String {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        // The first of a name counts.
        read(&[(name, value), endpoint]).unwrap_err().to_string()
    }

    #[test]
    fn traces_are_exported_where_there_is_an_endpoint_and_nobody_says_no() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_EXPORTER", "otlp")],
            &[endpoint, ("OTEL_SDK_DISABLED", "TRUE")],
            &[endpoint, ("OTEL_TRACES_EXPORTER", "none")],
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "no url"),
                ("OTEL_SDK_DISABLED", "true"),
            ],
        ] {
            assert!(read(variables).unwrap().is_none(), "{variables:?}");
        }
        for variables in [
            &[endpoint][..],
            &[endpoint, ("OTEL_SDK_DISABLED", "false")],
            &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/here")],
        ] {
            assert!(read(variables).unwrap().is_some(), "{variables:?}");
        }
    }

    #[test]
    fn an_endpoint_of_all_signals_gets_the_path_of_traces() {
        for (endpoint, expected) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/", "https://c/otlp/v1/traces"),
        ] {
            let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
            assert_eq!(settings.unwrap().unwrap().endpoint, expected);
        }
        let own = with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://d:1/as/it/is")]);
        assert_eq!(own.endpoint, "http://d:1/as/it/is");
        assert_eq!(own.collector(), "d:1");
    }

    #[test]
    fn what_is_not_set_is_as_the_specification_says() {
        let settings = with(&[]);
        assert_eq!(settings.encoding, Encoding::Protobuf);
        assert_eq!(settings.timeout, Duration::from_secs(10));
        assert_eq!(
            settings.batches,
            Batches {
                queue: 2048,
                spans: 512,
                delay: Duration::from_secs(5),
                timeout: Duration::from_secs(30),
            }
        );
        assert_eq!(
            format!("{:?}", settings.sampler),
            format!("{:?}", Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        );
        assert!(!settings.gzip && settings.headers.is_empty());
        assert_eq!(
            settings.resource[0],
            ("service.name".to_owned(), "hostler".to_owned())
        );
    }

    #[test]
    fn every_variable_is_read() {
        let settings = with(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=1%2520,"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "9"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,place=M%C3%BCnster"),
            ("OTEL_SERVICE_NAME", "b"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20"),
            ("OTEL_BSP_SCHEDULE_DELAY", "30"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "40"),
        ]);
        assert_eq!(settings.encoding, Encoding::Json);
        assert_eq!(settings.headers["api-key"], "a b");
        assert_eq!(settings.headers["x"], "1%20");
        assert_eq!(settings.timeout, Duration::from_millis(250));
        assert!(settings.gzip);
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.25)));
        assert_eq!(format!("{:?}", settings.sampler), format!("{sampler:?}"));
        let resource = |name: &str| settings.resource.iter().rfind(|(key, _)| key == name);
        assert_eq!(resource("service.name").unwrap().1, "b");
        assert_eq!(resource("place").unwrap().1, "Münster");
        let batches = Batches {
            queue: 10,
            spans: 10,
            delay: Duration::from_millis(30),
            timeout: Duration::from_millis(40),
        };
        assert_eq!(settings.batches, batches);
        assert!(!format!("{settings:?}").contains("a b"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_to_set() {
        let grpc = refused("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert!(
            grpc.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL=\"grpc\" is not spoken"),
            "{grpc}"
        );
        assert!(grpc.contains("http/protobuf") && grpc.contains("4318"), "{grpc}");
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http"),
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://c:1"),
        ] {
            assert!(refused(name, value).starts_with(name), "{name}={value}");
        }
        let ratio = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "10%"),
        ]);
        assert!(ratio.unwrap_err().to_string().contains("0.1"));
    }

    #[test]
    fn an_error_does_not_repeat_a_secret() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:s3cret@c:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0a"),
        ] {
            let said = refused(name, value);
            assert!(said.starts_with(name) && !said.contains("s3cret"), "{said}");
        }
    }
}

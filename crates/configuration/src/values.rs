//! What values of the configuration may be. Each type says what it allows, in the words of the error.

use domain::limits::Size;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;
use tracing_subscriber::EnvFilter;

const MOST_ADDRESSES: usize = 16;

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const LEAST: u64, const MOST: u64>(pub u64);

/// A time, like `30s`, with its bounds in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time<const LEAST: u64, const MOST: u64>(pub Duration);

/// A number of bytes, like `64K`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const LEAST: u64, const MOST: u64>(pub u64);

/// A number of CPUs, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

/// Absolute: nobody knows where a server was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

/// Written as one text or as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub Vec<SocketAddr>);

/// The URL of a model's server, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(pub String);

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(pub String);

/// Who starts the jailer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum JailerStart {
    /// The server, where none is there.
    #[default]
    Own,
    /// A service manager: the server waits for it.
    Service,
}

/// A value that says what it may be.
pub trait Allowed: Sized {
    fn allowed() -> String;
    /// Nothing if it is not allowed.
    fn read(value: &Value) -> Option<Self>;
    fn written(&self) -> Value;
}

fn deserialize<'de, T: Allowed, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    T::read(&value).ok_or_else(|| {
        let message = format!("must be {}, and not {}", T::allowed(), shown(&value));
        D::Error::custom(message)
    })
}

/// A value as it is written in a file, for people.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(moment) => moment.to_string(),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Table(_) => "a table".to_owned(),
    }
}

impl<const LEAST: u64, const MOST: u64> Allowed for Whole<LEAST, MOST> {
    fn allowed() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    fn read(value: &Value) -> Option<Self> {
        let number = u64::try_from(value.as_integer()?).ok()?;
        (LEAST..=MOST).contains(&number).then_some(Self(number))
    }

    fn written(&self) -> Value {
        Value::Integer(self.0 as i64)
    }
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl<const LEAST: u64, const MOST: u64> Allowed for Time<LEAST, MOST> {
    fn allowed() -> String {
        let text = |seconds| time_text(Duration::from_secs(seconds));
        format!("a time from {} to {}, like \"30s\"", text(LEAST), text(MOST))
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let time = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?);
        let bounds = Duration::from_secs(LEAST)..=Duration::from_secs(MOST);
        bounds.contains(&time).then_some(Self(time))
    }

    fn written(&self) -> Value {
        Value::String(time_text(self.0))
    }
}

fn time_text(time: Duration) -> String {
    let milliseconds = time.as_millis() as u64;
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let mut units = UNITS.iter().rev();
    let whole = units.find(|(_, unit)| milliseconds.is_multiple_of(*unit));
    let (name, unit) = whole.unwrap_or(&UNITS[0]);
    format!("{}{name}", milliseconds / unit)
}

impl<const LEAST: u64, const MOST: u64> Allowed for Bytes<LEAST, MOST> {
    fn allowed() -> String {
        format!("a size from {} to {}", size_text(LEAST), size_text(MOST))
    }

    fn read(value: &Value) -> Option<Self> {
        let bytes = match value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok()?,
            Value::String(text) => text.parse::<Size>().ok()?.0,
            _ => return None,
        };
        (LEAST..=MOST).contains(&bytes).then_some(Self(bytes))
    }

    fn written(&self) -> Value {
        Value::String(size_text(self.0))
    }
}

fn size_text(bytes: u64) -> String {
    let whole = [("T", 40), ("G", 30), ("M", 20), ("K", 10)]
        .into_iter()
        .find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    match whole {
        Some((name, shift)) => format!("{}{name}", bytes >> shift),
        None => bytes.to_string(),
    }
}

impl Allowed for Cpus {
    fn allowed() -> String {
        "a number from 0.01 to 1024".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let number = match value {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            _ => return None,
        };
        let millis = (number * 1000.0).round();
        (0.01..=1024.0).contains(&number).then_some(Self(millis as u32))
    }

    fn written(&self) -> Value {
        if self.0.is_multiple_of(1000) {
            Value::Integer(i64::from(self.0 / 1000))
        } else {
            Value::Float(f64::from(self.0) / 1000.0)
        }
    }
}

impl Allowed for Flag {
    fn allowed() -> String {
        "true or false".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_bool().map(Self)
    }

    fn written(&self) -> Value {
        Value::Boolean(self.0)
    }
}

impl Allowed for FilePath {
    fn allowed() -> String {
        "a path that begins with /".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        (text.starts_with('/') && !text.contains('\0')).then(|| Self(text.into()))
    }

    fn written(&self) -> Value {
        Value::String(self.0.to_string_lossy().into_owned())
    }
}

impl Addresses {
    /// Separated by commas.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(text.split(','))
    }

    fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let addresses: Option<Vec<_>> = texts.into_iter().map(|text| address(text.trim())).collect();
        let addresses = addresses.filter(|addresses| (1..=MOST_ADDRESSES).contains(&addresses.len()));
        addresses.map(Self)
    }
}

/// Names are not looked up, but for the one that everybody knows.
pub fn address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into());
    }
    text.parse().ok()
}

impl Allowed for Addresses {
    fn allowed() -> String {
        format!(
            "an address with its port, like \"127.0.0.1:8700\" or \"[::1]:8700\", or a list of 1 to \
             {MOST_ADDRESSES} of them"
        )
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::of([text.as_str()]),
            Value::Array(values) => {
                let texts: Option<Vec<_>> = values.iter().map(Value::as_str).collect();
                Self::of(texts?)
            }
            _ => None,
        }
    }

    fn written(&self) -> Value {
        let text = |address: &SocketAddr| Value::String(address.to_string());
        match self.0.as_slice() {
            [one] => text(one),
            all => Value::Array(all.iter().map(text).collect()),
        }
    }
}

impl BaseUrl {
    pub fn parse(text: &str) -> Option<Self> {
        let url = text.trim_end_matches('/');
        let host = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"))?;
        let sound =
            !host.is_empty() && !host.starts_with('/') && url.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Self(url.to_owned()))
    }
}

impl Allowed for BaseUrl {
    fn allowed() -> String {
        "an http or https URL, like \"https://models.example.com\"".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }

    fn written(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl Filter {
    pub fn parse(text: &str) -> Option<Self> {
        let sound = !text.trim().is_empty() && EnvFilter::try_new(text).is_ok();
        sound.then(|| Self(text.to_owned()))
    }
}

impl Allowed for Filter {
    fn allowed() -> String {
        "a filter like \"debug\" or \"info,gateway=debug\"".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }

    fn written(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl Allowed for JailerStart {
    fn allowed() -> String {
        "\"own\" or \"service\"".to_owned()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "own" => Some(Self::Own),
            "service" => Some(Self::Service),
            _ => None,
        }
    }

    fn written(&self) -> Value {
        let text = match self {
            Self::Own => "own",
            Self::Service => "service",
        };
        Value::String(text.to_owned())
    }
}

/// Every type here is read and written in the same way.
macro_rules! as_written {
    ($($name:ident $(<$($bound:ident),+>)?),+ $(,)?) => {$(
        impl<'de $($(, const $bound: u64)+)?> Deserialize<'de> for $name $(<$($bound),+>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer)
            }
        }

        impl $(<$(const $bound: u64),+>)? Serialize for $name $(<$($bound),+>)? {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.written().serialize(serializer)
            }
        }
    )+};
}

as_written!(
    Whole<LEAST, MOST>,
    Time<LEAST, MOST>,
    Bytes<LEAST, MOST>,
    Cpus,
    Flag,
    FilePath,
    Addresses,
    BaseUrl,
    Filter,
    JailerStart,
);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn times_have_a_unit_and_bounds() {
        type Tested = Time<1, 3600>;
        for (written, milliseconds) in [
            ("1s", 1000),
            ("1500ms", 1500),
            ("10m", 600_000),
            ("1h", 3_600_000),
        ] {
            let read = Tested::read(&text(written)).unwrap();
            assert_eq!(read.0, Duration::from_millis(milliseconds), "{written}");
            assert_eq!(read.written(), text(written));
        }
        assert_eq!(Tested::read(&text("60s")).unwrap().written(), text("1m"));
        assert_eq!(Time::<0, 9>::read(&text("0m")).unwrap().written(), text("0s"));
        for wrong in [
            "",
            "s",
            "10",
            "1.5s",
            "-1s",
            "2h",
            "999ms",
            "1 s",
            "99999999999999999999s",
        ] {
            assert_eq!(Tested::read(&text(wrong)), None, "{wrong}");
        }
        assert_eq!(Tested::read(&Value::Integer(30)), None);
        assert_eq!(Tested::allowed(), "a time from 1s to 1h, like \"30s\"");
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        type Tested = Bytes<1024, { 1 << 40 }>;
        for (written, bytes) in [
            ("1K", 1 << 10),
            ("256M", 256 << 20),
            ("1T", 1 << 40),
            ("1025", 1025),
        ] {
            let read = Tested::read(&text(written)).unwrap();
            assert_eq!((read.0, read.written()), (bytes, text(written)));
        }
        assert_eq!(Tested::read(&Value::Integer(2048)).unwrap().0, 2048);
        for wrong in ["1", "2T", "many", ""] {
            assert_eq!(Tested::read(&text(wrong)), None, "{wrong}");
        }
        assert_eq!(Tested::read(&Value::Integer(-1)), None);
    }

    #[test]
    fn addresses_are_one_or_several_and_no_names() {
        let several = Value::Array(vec![text("127.0.0.1:8700"), text("[::1]:8700")]);
        assert_eq!(Addresses::read(&several).unwrap().written(), several);
        let one = Addresses::read(&text("localhost:1")).unwrap();
        assert_eq!(one.written(), text("127.0.0.1:1"));
        assert_eq!(Addresses::parse("127.0.0.1:1, [::]:2").unwrap().0.len(), 2);
        for wrong in [
            "",
            "8700",
            "127.0.0.1",
            "example.com:80",
            "::1:8700",
            "127.0.0.1:70000",
            "127.0.0.1:1,",
        ] {
            assert_eq!(Addresses::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Addresses::read(&Value::Array(Vec::new())), None);
        assert_eq!(Addresses::read(&Value::Array(vec![Value::Integer(1)])), None);
    }

    #[test]
    fn cpus_are_whole_or_not() {
        assert_eq!(Cpus::read(&Value::Integer(2)), Some(Cpus(2000)));
        assert_eq!(
            Cpus::read(&Value::Float(0.5)).unwrap().written(),
            Value::Float(0.5)
        );
        for wrong in [
            Value::Float(f64::NAN),
            Value::Integer(0),
            Value::Integer(4096),
            text("2"),
        ] {
            assert_eq!(Cpus::read(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn urls_and_filters_are_looked_at() {
        assert_eq!(
            BaseUrl::parse("https://x.example/").unwrap().0,
            "https://x.example"
        );
        for wrong in ["", "x.example", "ftp://x", "https://", "http:///x", "http://a b"] {
            assert_eq!(BaseUrl::parse(wrong), None, "{wrong}");
        }
        assert!(Filter::parse("info,gateway=debug").is_some());
        for wrong in ["", " ", "gateway=loud", "a=b=c"] {
            assert_eq!(Filter::parse(wrong), None, "{wrong}");
        }
    }
}

//! How sizes and times are written in the settings: `"64 MiB"`, `"30days"`.

/// Bytes: a number, or a number with a unit.
pub(crate) mod bytes {
    use bytesize::ByteSize;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// The units that are written, greatest first.
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }

    pub(crate) fn serialize<T, S>(bytes: &T, to: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Into<u64>,
        S: Serializer,
    {
        let bytes = (*bytes).into();
        match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes % unit == 0) {
            Some((unit, name)) => to.serialize_str(&format!("{} {name}", bytes / unit)),
            None => to.serialize_u64(bytes),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        let bytes = match Written::deserialize(from) {
            Ok(Written::Number(bytes)) => bytes,
            Ok(Written::Text(text)) => text
                .parse::<ByteSize>()
                .map_err(|_| D::Error::custom(format!("{text:?} is no size; such as \"64 MiB\"")))?
                .as_u64(),
            Err(_) => return Err(D::Error::custom("expected a size, such as \"64 MiB\"")),
        };
        T::try_from(bytes).map_err(|_| D::Error::custom("this size is too large here"))
    }
}

/// A span of time: numbers with units.
pub(crate) mod time {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)
            .map_err(|_| D::Error::custom("expected a time, such as \"30days\" or \"15s\""))?;
        humantime::parse_duration(&text)
            .map_err(|_| D::Error::custom(format!("{text:?} is no time; such as \"30days\"")))
    }
}

/// Up to what something is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A part of what the process may use.
    Auto,
    /// As far as it goes.
    Off,
    /// So much.
    At(u64),
}

impl Mark {
    /// The least that it can be taken for.
    pub(crate) fn least(self) -> u64 {
        if let Self::At(mark) = self { mark } else { u64::MAX }
    }
}

impl serde::Serialize for Mark {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => to.serialize_str("auto"),
            Self::Off => to.serialize_str("off"),
            Self::At(mark) => to.serialize_u64(*mark),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Mark {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let expected = || D::Error::custom("expected \"auto\", \"off\", a number or a size");
        let mark = match <toml::Value as serde::Deserialize>::deserialize(from)? {
            toml::Value::String(text) if text == "auto" => return Ok(Self::Auto),
            toml::Value::String(text) if text == "off" => return Ok(Self::Off),
            toml::Value::String(text) => {
                text.parse::<bytesize::ByteSize>().map_err(|_| expected())?.as_u64()
            }
            toml::Value::Integer(number) => u64::try_from(number).map_err(|_| expected())?,
            _ => return Err(expected()),
        };
        // What TOML can't say again is none.
        i64::try_from(mark).map(|_| Self::At(mark)).map_err(|_| expected())
    }
}

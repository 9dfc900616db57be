//! The values that stand in the steps of a scenario.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::bench::vehicle::Form;
use crate::catalog::{Command, find};
use crate::code::Code;
use crate::wire::mavlink::result_name;

/// What comes at once on an idle machine may take a while on a busy one.
const WITHIN: u64 = 20;
const LONGEST: Duration = Duration::from_secs(600);

/// 1 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Param(pub u8);

/// A span of time: 0 to 600.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds(Duration);

/// Seconds that something may take at most, 0 to 600.
#[derive(Clone, Copy, Debug)]
pub struct Within(u64);

/// The number of a MAV_RESULT, by its name without MAV_RESULT_ or as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultNumber(pub u8);

/// A code of the agent, or a MAV_RESULT's whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseCode(pub Cow<'static, str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormName(pub Form);

impl Within {
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl Seconds {
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Within {
    fn default() -> Self {
        Self(WITHIN)
    }
}

/// A command type of the catalogue.
///
/// # Errors
/// The catalogue has none of this name.
pub fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static Command, D::Error> {
    let name = String::deserialize(deserializer)?;
    find(&name).ok_or_else(|| D::Error::custom(format!("the catalogue has no command {name:?}")))
}

impl<'de> Deserialize<'de> for ResultNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a MAV_RESULT's name without MAV_RESULT_, or its number")]
        enum Text {
            Number(u8),
            Name(String),
        }
        match Text::deserialize(deserializer)? {
            Text::Number(number) => Ok(Self(number)),
            Text::Name(name) => {
                let whole = format!("MAV_RESULT_{name}");
                let number = (0..u8::MAX).find(|&number| result_name(number) == whole);
                number.map(Self).ok_or_else(|| {
                    D::Error::custom(format!("{name:?} is no MAV_RESULT (such as \"ACCEPTED\")"))
                })
            }
        }
    }
}

impl<'de> Deserialize<'de> for ResponseCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let own = Code::ALL.iter().map(|code| Cow::Borrowed(code.as_str()));
        let mut all = own.chain((0..=u8::MAX).map(result_name));
        all.find(|code| *code == text).map(Self).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is neither a code of the agent nor a MAV_RESULT"))
        })
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let span = Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= LONGEST);
        span.map(Self).ok_or_else(|| D::Error::custom(format!("{seconds} s is not 0 to 600 s")))
    }
}

impl<'de> Deserialize<'de> for Within {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = u64::deserialize(deserializer)?;
        let within = Some(Self(seconds)).filter(|within| within.duration() <= LONGEST);
        within.ok_or_else(|| D::Error::custom(format!("within: {seconds} s is not 0 to 600 s")))
    }
}

impl<'de> Deserialize<'de> for Param {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|number| (1..=7).contains(number));
        number.map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is no param, 1 to 7")))
    }
}

impl<'de> Deserialize<'de> for FormName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let form = [Form::Long, Form::Int].into_iter().find(|form| form.as_str() == text);
        form.map(Self).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is neither \"COMMAND_LONG\" nor \"COMMAND_INT\""))
        })
    }
}

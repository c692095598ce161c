//! The model of an agent: a name, or an object with how hard it works.

use serde::{Deserialize, Serialize};

/// As a client writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum ModelInput {
    Name(String),
    Config(ConfigInput),
}

#[derive(Debug, Clone, Deserialize)]
pub struct ConfigInput {
    id: String,
    #[serde(default)]
    effort: Option<EffortInput>,
    #[serde(default)]
    speed: Option<Speed>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum EffortInput {
    Name(EffortName),
    Object(Effort),
}

/// As it is stored and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    pub effort: Effort,
    pub speed: Speed,
    /// Not supported yet.
    pub inference_geo: Option<()>,
}

/// How hard the model works on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EffortName {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    #[default]
    Standard,
}

impl ModelInput {
    /// An effort that is not given stays what it was; at first it is what the model API takes for granted.
    pub fn resolve(self, previous: Option<&Model>) -> Model {
        let (id, effort, speed) = match self {
            Self::Name(id) => (id, None, None),
            Self::Config(config) => (config.id, config.effort, config.speed),
        };
        let effort = effort.map(|effort| match effort {
            EffortInput::Name(name) => name.into(),
            EffortInput::Object(effort) => effort,
        });
        Model {
            id,
            effort: effort
                .or(previous.map(|model| model.effort))
                .unwrap_or(Effort::High),
            speed: speed.unwrap_or_default(),
            inference_geo: None,
        }
    }
}

impl Effort {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

impl From<EffortName> for Effort {
    fn from(name: EffortName) -> Self {
        match name {
            EffortName::Low => Self::Low,
            EffortName::Medium => Self::Medium,
            EffortName::High => Self::High,
            EffortName::Xhigh => Self::Xhigh,
            EffortName::Max => Self::Max,
        }
    }
}

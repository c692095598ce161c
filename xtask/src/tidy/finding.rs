//! What tidy found: where, against which rule, and what to do about it.

use serde::Deserialize;
use std::fmt;

/// A rule, by the name that messages and `tidy.toml` use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rule {
    Syntax,
    Head,
    ModRs,
    VagueName,
    FileLength,
    FunctionLength,
    CrateLength,
    ErrorVariants,
    Arguments,
    TraitMethods,
    Arrow,
    Pure,
    Unsafe,
    ArchitectureLength,
    Registry,
    Skip,
    Promise,
    Exception,
}

impl Rule {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Head => "head",
            Self::ModRs => "mod-rs",
            Self::VagueName => "vague-name",
            Self::FileLength => "file-length",
            Self::FunctionLength => "function-length",
            Self::CrateLength => "crate-length",
            Self::ErrorVariants => "error-variants",
            Self::Arguments => "arguments",
            Self::TraitMethods => "trait-methods",
            Self::Arrow => "arrow",
            Self::Pure => "pure",
            Self::Unsafe => "unsafe",
            Self::ArchitectureLength => "architecture-length",
            Self::Registry => "registry",
            Self::Skip => "skip",
            Self::Promise => "promise",
            Self::Exception => "exception",
        }
    }
}

/// Ordered by place, so that a listing reads like the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    /// What was measured, where the rule is a budget.
    pub(crate) size: Option<usize>,
    pub(crate) advice: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, rule: Rule, advice: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            size: None,
            advice: advice.into(),
        }
    }

    pub(crate) fn sized(mut self, size: usize) -> Self {
        self.size = Some(size);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: {}: {}",
            self.path,
            self.line,
            self.rule.as_str(),
            self.advice
        )
    }
}

//! What a function is configured with: environment variables, as the template sets them.

use std::env;

/// A variable that is missing or cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} {found}")]
pub struct ConfigError {
    /// Its name.
    pub name: &'static str,
    /// What is wrong with it, and what would be right.
    pub found: String,
}

/// Says a variable's value by its name.
type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Reads environment variables: the process's, or a test's.
pub struct Environment(Lookup);

impl ConfigError {
    /// This variable cannot be used, in words that follow its name.
    pub(crate) fn new(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into() }
    }
}

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        Self(Box::new(|name| env::var(name).ok()))
    }

    /// Those that a test gives.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self(Box::new(move |wanted| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())))
    }

    /// One that may be absent; empty is absent.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The items of one that is a list, with commas between them; absent is empty.
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// One that must be there.
    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.optional(name).ok_or_else(|| ConfigError { name, found: "is not set: the template sets it".to_owned() })
    }
}

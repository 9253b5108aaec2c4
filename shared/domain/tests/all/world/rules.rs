//! The user's own rules, for stories.

use portcullis_domain::rules::Rule;

pub fn forbidding(name: &str, condition: &str) -> Rule {
    Rule { name: name.into(), text: format!("forbid(principal, action, resource) when {{ {condition} }};") }
}

//! How single values are spelled: names, lines, places, accounts. [`crate::scalar`] says which stands where.

use portcullis_domain::names::{GroupName, InvalidName, Repository, ServiceName, is_bidi_control};

use crate::grammar::Wrong;
use crate::nearest::{nearest, shown};
use crate::scalar::Choice;

/// A name of the user's own choosing. Words that other YAML readers take for true, false or nothing are refused.
pub(crate) fn name<T>(text: &str, plain: bool, parsed: Result<T, InvalidName>, example: &str) -> Result<(), Wrong> {
    const TRAPS: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ".nan"];
    if plain && TRAPS.contains(&text.to_ascii_lowercase().as_str()) {
        return Err(Wrong::new(
            format!("`{text}` can not be a name"),
            "other YAML readers take it for true, false or nothing",
            "choose another name",
        ));
    }
    from_name(text, parsed, example)
}

/// A name that the domain reads.
pub(crate) fn from_name<T>(text: &str, parsed: Result<T, InvalidName>, example: &str) -> Result<(), Wrong> {
    parsed.map(|_| ()).map_err(|error| {
        Wrong::new(
            format!("`{}` is not a good {}", shown(text), error.what),
            error.why,
            format!("write, for example: {example}"),
        )
    })
}

/// A name of lower-case letters, digits and -, of at most 60 characters.
pub(crate) fn label(text: &str, plain: bool) -> Result<(), Wrong> {
    let wrong = |why| InvalidName { what: "name", text: String::new(), why };
    let checked = GroupName::new(text).map(drop).map_err(|error| wrong(error.why));
    let checked = if text.len() > 60 { Err(wrong("must have 1 to 60 characters")) } else { checked };
    name(text, plain, checked, "year-end")
}

/// A service, so that the names made of it are still names.
pub(crate) fn service(text: &str, plain: bool) -> Result<(), Wrong> {
    name(text, plain, ServiceName::new(text), "api")?;
    let taken =
        |label: &str, help: &str| Err(Wrong::new(format!("`{}` is not a good service name", shown(text)), label, help));
    if let Some(end) = ["-blue", "-green", "-preview"].iter().find(|end| text.ends_with(**end)) {
        return taken(
            &format!("names ending in {end} are made by Portcullis"),
            "its objects are called SERVICE-blue, SERVICE-green and SERVICE-preview: choose another name",
        );
    }
    if text.len() > 55 {
        return taken("at most 55 characters: -preview is added to it", "choose a shorter name");
    }
    Ok(())
}

/// A metric of the user's own.
pub(crate) fn word(text: &str, plain: bool) -> Result<(), Wrong> {
    let fine = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 63
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    let checked = if fine {
        Ok(())
    } else {
        Err(InvalidName { what: "metric name", text: String::new(), why: "may hold only a-z, 0-9 and _" })
    };
    name(text, plain, checked, "queue_depth")
}

/// A namespace of one's own in CloudWatch. Amazon CloudWatch API Reference, `PutMetricData`: 1 to 255 characters, the
/// first no colon; those that begin with `AWS/` are AWS's. Amazon CloudWatch User Guide, "Namespaces": the characters.
pub(crate) fn metric_namespace(text: &str) -> Result<(), Wrong> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"_./#:-".contains(&c);
    let label = if text.starts_with("AWS/") {
        "what begins with AWS/ belongs to AWS"
    } else if text.starts_with(':') {
        "does not begin with a colon"
    } else if !(1..=255).contains(&text.len()) || !text.bytes().all(allowed) {
        "1 to 255 letters, digits and _ . / # : -"
    } else {
        return Ok(());
    };
    Err(Wrong::new(
        format!("`{}` is not a CloudWatch namespace", shown(text)),
        label,
        "write, for example: Shop/Deployments",
    ))
}

/// Whether the text is one line that shows as what it is.
pub(crate) fn line(text: &str, most: usize) -> Result<(), Wrong> {
    let count = text.chars().count();
    if count > most {
        return Err(Wrong::new(
            format!("{count} characters are too many"),
            format!("at most {most}"),
            "make it shorter",
        ));
    }
    if text.trim().is_empty() {
        return Err(Wrong::new("says nothing", "only spaces", "write a text, or remove the line"));
    }
    if text.chars().any(|c| c.is_control() || is_bidi_control(c)) {
        return Err(Wrong::new(
            format!("`{}` has characters that can not be seen", shown(text)),
            "control or bidirectional characters, or several lines",
            "write it as one plain line",
        ));
    }
    Ok(())
}

/// Whether the text could be a rule: several lines, but nothing that cannot be seen. Its grammar is the domain's.
pub(crate) fn cedar(text: &str) -> Result<(), Wrong> {
    const MOST: usize = portcullis_domain::rules::MOST_TEXT;
    if text.len() > MOST {
        let problem = format!("a rule of {} bytes is too long", text.len());
        return Err(Wrong::new(problem, format!("at most {MOST}"), "make several rules of it"));
    }
    if text.trim().is_empty() {
        return Err(Wrong::new("says nothing", "only spaces", "write a rule, or remove the line"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t') || is_bidi_control(c)) {
        let label = "control or bidirectional characters";
        return Err(Wrong::new("the rule has characters that can not be seen", label, "write it as plain text"));
    }
    Ok(())
}

/// `HOST/OWNER/NAME`.
pub(crate) fn source(text: &str) -> Result<(), Wrong> {
    let fine = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._:".contains(&c)) && part != ".."
    };
    let parts: Vec<&str> = text.split('/').take(12).collect();
    if text.len() > 255 || parts.len() < 2 || !parts[0].contains('.') || !parts.iter().all(|part| fine(part)) {
        let label = if text.contains("://") { "without https://" } else { "HOST/OWNER/NAME" };
        return Err(Wrong::new(
            format!("`{}` is not a source repository", shown(text)),
            label,
            "write: github.com/owner/name",
        ));
    }
    Ok(())
}

/// A host and perhaps a path.
pub(crate) fn registry(text: &str) -> Result<(), Wrong> {
    from_name(text, Repository::new(text), "ghcr.io/owner")?;
    if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        return Err(Wrong::new(
            format!("`{}` is not a registry", shown(text)),
            "a host and perhaps a path; no https://, no / at the end",
            "write: ghcr.io/owner",
        ));
    }
    Ok(())
}

/// A folder, from the root of the repository.
pub(crate) fn folder(text: &str) -> Result<(), Wrong> {
    line(text, 255)?;
    let bad =
        text.starts_with('/') || text.split('/').any(|part| part == ".." || part == ".") || text.contains(['\\', ' ']);
    if bad {
        return Err(Wrong::new(
            format!("`{}` is not a folder of the source", shown(text)),
            "from the root of the repository, without a leading /",
            "write: services/api",
        ));
    }
    Ok(())
}

/// 12 digits in quotes.
pub(crate) fn account(text: &str, plain: bool) -> Result<(), Wrong> {
    let twelve = text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit());
    if twelve && !plain {
        return Ok(());
    }
    if plain && text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Wrong::new(
            "an account number is a text",
            "YAML reads this as a number; a leading zero would be lost",
            format!("write: \"{}\"", shown(text)),
        ));
    }
    Err(Wrong::new(
        format!("`{}` is not an AWS account", shown(text)),
        "an account number has 12 digits",
        "write: \"111111111111\"",
    ))
}

/// `us-east-1`.
pub(crate) fn region(text: &str) -> Result<(), Wrong> {
    let parts: Vec<&str> = text.split('-').take(8).collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
    let (last, words) = parts.split_last().unwrap_or((&"", &[]));
    let number = !last.is_empty() && last.bytes().all(|c| c.is_ascii_digit());
    if words.len() >= 2 && words.iter().all(letters) && words[0].len() >= 2 && number && text.len() <= 32 {
        return Ok(());
    }
    Err(Wrong::new(format!("`{}` is not a region", shown(text)), "such as us-east-1", "write: us-east-1"))
}

/// git check-ref-format, as far as a branch of a policy needs it.
pub(crate) fn branch(text: &str) -> Result<(), Wrong> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || is_bidi_control(c) || "~^:?*[\\".contains(c);
    let refused = text.is_empty()
        || text.len() > 200
        || text.chars().any(bad)
        || text.starts_with(['/', '-'])
        || text.ends_with(['/', '.'])
        || text.contains("..")
        || text.contains("//")
        || text.starts_with("refs/");
    if refused {
        return Err(Wrong::new(
            format!("`{}` is not a branch", shown(text)),
            "one branch, by its name; no pattern, no refs/heads/",
            "write: main",
        ));
    }
    Ok(())
}

/// A GitHub user, or an app as `NAME[bot]`.
pub(crate) fn github_login(text: &str) -> Result<(), Wrong> {
    let login = text.strip_suffix("[bot]").unwrap_or(text);
    let fine = !login.is_empty() && login.len() <= 39 && login.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    if fine && !login.starts_with('-') {
        return Ok(());
    }
    Err(Wrong::new(
        format!("`{}` is not a GitHub user name", shown(text)),
        "letters, digits and -; no @",
        "write: octocat",
    ))
}

/// One of these words.
pub(crate) fn choice(text: &str, choices: &[Choice]) -> Result<(), Wrong> {
    if choices.iter().any(|choice| choice.word == text) {
        return Ok(());
    }
    let words: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
    let all = words.join(", ");
    let help = match nearest(text, words) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of: {all}"),
    };
    Err(Wrong::new(format!("`{}` is not known here", shown(text)), format!("one of {all}"), help))
}

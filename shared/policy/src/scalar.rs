//! Every kind of single value a policy may hold: how it is checked, how it is named, and its JSON Schema.

use portcullis_domain::names::{
    AppName, EnvName, GroupName, InvalidName, ObjectName, Repository, ServiceName, Subject, Tag, is_bidi_control,
};
use portcullis_domain::tags::TagPattern;

use crate::amounts::{self, Measure};
use crate::grammar::{self, Wrong};
use crate::nearest::{nearest, shown};

/// One of the words that may stand somewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) word: &'static str,
    /// Good policy, but not supported yet.
    pub(crate) later: bool,
}

/// A kind of single value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar {
    /// The version of the policy's language: 1.
    Version,
    /// One line of text of at most so many characters.
    Line(usize),
    App,
    Environment,
    Service,
    Group,
    Test,
    Person,
    MetricName,
    /// A source repository: `github.com/owner/name`.
    Source,
    /// Where image repositories live.
    Registry,
    Image,
    /// A folder of the source.
    Folder,
    TagPattern,
    Tag,
    Account,
    Region,
    Cluster,
    /// A name on the cluster.
    Object,
    Branch,
    Duration,
    /// A duration that may be `0s`.
    DurationOrZero,
    Amount(Measure),
    Quorum,
    ScanAction,
    Date,
    HttpRequest,
    CronJob,
    AlarmPattern,
    Count,
    Choice(&'static [Choice]),
    Channel,
    Failing,
    Worse,
    SlackUser,
    Email,
    GithubLogin,
}

impl Scalar {
    /// Whether the text is one; `plain` = written without quotes.
    pub(crate) fn check(self, text: &str, plain: bool) -> Result<(), Wrong> {
        match self {
            Scalar::Version => match text {
                "1" => Ok(()),
                _ => Err(Wrong::new(
                    format!("version `{}` is not known", shown(text)),
                    "this Portcullis reads version 1",
                    "write: portcullis: 1",
                )),
            },
            Scalar::Line(most) => line(text, most),
            Scalar::App => name(text, plain, AppName::new(text), "checkout"),
            Scalar::Environment => name(text, plain, EnvName::new(text), "production"),
            Scalar::Service => service(text, plain),
            Scalar::Group => name(text, plain, GroupName::new(text), "release-managers"),
            // Tests are named as groups are: what a URL and a path can hold.
            Scalar::Test => name(text, plain, GroupName::new(text), "smoke"),
            Scalar::Person => name(text, plain, Subject::new(text), "kofi"),
            Scalar::MetricName => word(text, plain),
            Scalar::Source => source(text),
            Scalar::Registry => registry(text),
            Scalar::Image => from_name(text, Repository::new(text), "registry.example.com/team/api"),
            Scalar::Folder => folder(text),
            Scalar::TagPattern => text.parse::<TagPattern>().map(|_| ()).map_err(|error| {
                Wrong::new(
                    format!("`{}`: {error}", shown(text)),
                    "not a tag pattern",
                    "write: {sha} or prod-{sha7}-{date}",
                )
            }),
            Scalar::Tag => from_name(text, Tag::new(text), "dev-latest"),
            Scalar::Account => account(text, plain),
            Scalar::Region => region(text),
            Scalar::Cluster => line(text, 200),
            Scalar::Object => from_name(text, ObjectName::new(text), "volteryde-prod"),
            Scalar::Branch => branch(text),
            Scalar::Duration => amounts::some_duration(text).map(|_| ()),
            Scalar::DurationOrZero => amounts::duration(text).map(|_| ()),
            Scalar::Amount(measure) => amounts::amount(text, measure).map(|_| ()),
            Scalar::Quorum => grammar::quorum(text).map(|_| ()),
            Scalar::ScanAction => grammar::scan_action(text).map(|_| ()),
            Scalar::Date => grammar::date(text).map(|_| ()),
            Scalar::HttpRequest => grammar::http_request(text).map(|_| ()),
            Scalar::CronJob => match text.strip_prefix("cronjob/").map(ObjectName::new) {
                Some(Ok(_)) => Ok(()),
                _ => Err(Wrong::new(
                    format!("`{}` is not a job", shown(text)),
                    "names a CronJob of the namespace",
                    "write: cronjob/integration-tests",
                )),
            },
            Scalar::AlarmPattern => line(text, 255),
            Scalar::Count => match text.parse::<u8>() {
                Ok(1..=50) if !text.starts_with('+') => Ok(()),
                _ => Err(Wrong::new(format!("`{}` is not a count", shown(text)), "from 1 to 50", "write: 2")),
            },
            Scalar::Choice(choices) => choice(text, choices),
            Scalar::Channel => grammar::channel(text).map(|_| ()),
            Scalar::Failing => grammar::failing(text).map(|_| ()),
            Scalar::Worse => grammar::worse(text),
            Scalar::SlackUser => grammar::slack_user(text),
            Scalar::Email => grammar::email(text),
            Scalar::GithubLogin => github_login(text),
        }
    }

    /// Whether this good value is one that this version cannot carry out.
    pub(crate) fn is_later(self, text: &str) -> bool {
        match self {
            Scalar::Choice(choices) => choices.iter().any(|choice| choice.later && choice.word == text),
            Scalar::Channel => grammar::channel(text).is_ok_and(|channel| !channel.is_supported()),
            _ => false,
        }
    }

    /// What stands here, in words: after "expected".
    pub(crate) fn expected(self) -> String {
        let words = match self {
            Scalar::Version => "the number 1",
            Scalar::Line(_) => "a line of text",
            Scalar::App => "a name such as checkout",
            Scalar::Environment => "an environment's name",
            Scalar::Service => "a service's name",
            Scalar::Group => "a group's name",
            Scalar::Test => "a test's name",
            Scalar::Person => "a person's id",
            Scalar::MetricName => "a metric's name",
            Scalar::Source => "a repository such as github.com/owner/name",
            Scalar::Registry => "a registry such as ghcr.io/owner",
            Scalar::Image => "an image repository",
            Scalar::Folder => "a folder of the source",
            Scalar::TagPattern => "a tag pattern such as {sha}",
            Scalar::Tag => "a tag",
            Scalar::Account => "an account number in quotes",
            Scalar::Region => "a region such as us-east-1",
            Scalar::Cluster => "a cluster's name",
            Scalar::Object => "a name on the cluster",
            Scalar::Branch => "a branch",
            Scalar::Duration | Scalar::DurationOrZero => "a duration such as 5m",
            Scalar::Amount(measure) => return format!("an amount such as {}", measure.example()),
            Scalar::Quorum => "a quorum such as 1 of release-managers",
            Scalar::ScanAction => "block, review by GROUP, or allow",
            Scalar::Date => "a date such as 2027-01-31",
            Scalar::HttpRequest => "a request such as GET /health",
            Scalar::CronJob => "a job such as cronjob/integration-tests",
            Scalar::AlarmPattern => "an alarm's name, * for any part of it",
            Scalar::Count => "a whole number",
            Scalar::Choice(choices) => {
                let words: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
                return format!("one of {}", words.join(", "));
            }
            Scalar::Channel => "a channel such as slack deployments",
            Scalar::Failing => "a health rule such as failing for 5m",
            Scalar::Worse => "a comparison such as at most 10% worse",
            Scalar::SlackUser => "a Slack user such as T01AB/U03CD",
            Scalar::Email => "an e-mail address",
            Scalar::GithubLogin => "a GitHub user name",
        };
        words.to_owned()
    }
}

/// A name of the user's own choosing. Words that other YAML readers take for true, false or nothing are refused.
fn name<T>(text: &str, plain: bool, parsed: Result<T, InvalidName>, example: &str) -> Result<(), Wrong> {
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

fn from_name<T>(text: &str, parsed: Result<T, InvalidName>, example: &str) -> Result<(), Wrong> {
    parsed.map(|_| ()).map_err(|error| {
        Wrong::new(
            format!("`{}` is not a good {}", shown(text), error.what),
            error.why,
            format!("write, for example: {example}"),
        )
    })
}

fn service(text: &str, plain: bool) -> Result<(), Wrong> {
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

fn word(text: &str, plain: bool) -> Result<(), Wrong> {
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

/// Whether the text is one line that shows as what it is.
fn line(text: &str, most: usize) -> Result<(), Wrong> {
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

fn source(text: &str) -> Result<(), Wrong> {
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

fn registry(text: &str) -> Result<(), Wrong> {
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

fn folder(text: &str) -> Result<(), Wrong> {
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

fn account(text: &str, plain: bool) -> Result<(), Wrong> {
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

fn region(text: &str) -> Result<(), Wrong> {
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
fn branch(text: &str) -> Result<(), Wrong> {
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

fn github_login(text: &str) -> Result<(), Wrong> {
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

fn choice(text: &str, choices: &[Choice]) -> Result<(), Wrong> {
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

//! Every kind of single value a policy may hold: how it is checked, how it is named, and its JSON Schema.

use portcullis_domain::names::{AppName, EnvName, GroupName, ObjectName, Repository, Subject, Tag};
use portcullis_domain::tags::TagPattern;

use crate::age;
use crate::amounts::{self, Measure};
use crate::grammar::{self, Wrong};
use crate::nearest::shown;
use crate::spelling::{
    account, branch, cedar, choice, folder, from_name, github_login, label, line, metric_namespace, name, region,
    registry, service, source, word,
};

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
    /// A namespace of one's own in CloudWatch.
    MetricNamespace,
    /// A source repository: `github.com/owner/name`.
    Source,
    /// Where image repositories live.
    Registry,
    Image,
    /// A folder of the source.
    Folder,
    TagPattern,
    Tag,
    /// 12 digits.
    Account,
    /// 12 digits, or the organisation's name for an account.
    AccountOrName,
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
    /// A quorum of at least two.
    GlassQuorum,
    /// `3 in 1h`.
    Often,
    ScanAction,
    Date,
    /// A day and a time of day, without a zone.
    LocalTime,
    /// The name of a window, an account or a rule.
    Label,
    /// A rule in Cedar, of several lines.
    Cedar,
    HttpRequest,
    CronJob,
    /// A public key of age.
    AgeRecipient,
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
            Scalar::MetricNamespace => metric_namespace(text),
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
            Scalar::AccountOrName if text.starts_with(|c: char| c.is_ascii_lowercase()) => {
                name(text, plain, GroupName::new(text), "production")
            }
            Scalar::Account | Scalar::AccountOrName => account(text, plain),
            Scalar::Label => label(text, plain),
            Scalar::Region => region(text),
            Scalar::Cluster => line(text, 200),
            Scalar::Object => from_name(text, ObjectName::new(text), "volteryde-prod"),
            Scalar::Branch => branch(text),
            Scalar::Duration => amounts::some_duration(text).map(|_| ()),
            Scalar::DurationOrZero => amounts::duration(text).map(|_| ()),
            Scalar::Amount(measure) => amounts::amount(text, measure).map(|_| ()),
            Scalar::Quorum => grammar::quorum(text).map(|_| ()),
            Scalar::GlassQuorum => grammar::glass_quorum(text),
            Scalar::Often => grammar::often(text).map(|_| ()),
            Scalar::LocalTime => line(text, 32),
            Scalar::Cedar => cedar(text),
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
            Scalar::AgeRecipient => age::recipient(text),
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
            Scalar::MetricNamespace => "a CloudWatch namespace such as Shop/Deployments",
            Scalar::Source => "a repository such as github.com/owner/name",
            Scalar::Registry => "a registry such as ghcr.io/owner",
            Scalar::Image => "an image repository",
            Scalar::Folder => "a folder of the source",
            Scalar::TagPattern => "a tag pattern such as {sha}",
            Scalar::Tag => "a tag",
            Scalar::Account => "an account number in quotes",
            Scalar::AccountOrName => "an account number in quotes, or its name",
            Scalar::Label => "a name such as year-end",
            Scalar::GlassQuorum => "a quorum such as 2 of oncall",
            Scalar::Often => "a number and a time such as 3 in 1h",
            Scalar::LocalTime => "a local time such as 2026-01-02T18:00",
            Scalar::Cedar => "a rule in Cedar",
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
            Scalar::AgeRecipient => "an age recipient such as age1...",
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

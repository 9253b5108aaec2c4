//! The one table of everything a policy may say. The shape check and the JSON Schema are both read from it.

use crate::amounts::Measure;
use crate::environment_keys::{ALWAYS, ALWAYS_HERE, ENVIRONMENT};
use crate::scalar::{Choice, Scalar};

/// A key of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// For people: the description in the JSON Schema.
    pub(crate) doc: &'static str,
    pub(crate) shape: Shape,
    /// Read and checked, but not supported yet.
    pub(crate) later: bool,
    /// Must be there wherever its section is.
    pub(crate) required: bool,
}

/// What may stand somewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Scalar(Scalar),
    /// `below 1% for 2m`, or `{below: 1%, for: 2m}`.
    Threshold(Measure),
    /// A list; `empty` says why it may not be empty.
    List {
        of: &'static Shape,
        empty: Option<&'static str>,
    },
    /// A map with these keys.
    Section(&'static [Key]),
    /// A map with these keys and names of the user's own.
    Open {
        keys: &'static [Key],
        names: Scalar,
        of: &'static Shape,
        later: bool,
    },
    /// Rules by metric: these keys, and the metrics that the policy itself defines.
    Rules(&'static [Key]),
    /// The one that fits the kind of value (text, list or map).
    Either(&'static [Shape]),
    /// Not looked into.
    Any,
}

pub(crate) const fn key(name: &'static str, doc: &'static str, shape: Shape) -> Key {
    Key { name, doc, shape, later: false, required: false }
}
pub(crate) const fn must(name: &'static str, doc: &'static str, shape: Shape) -> Key {
    Key { name, doc, shape, later: false, required: true }
}
pub(crate) const fn later(name: &'static str, doc: &'static str, shape: Shape) -> Key {
    Key { name, doc, shape, later: true, required: false }
}
pub(crate) const fn choice(word: &'static str) -> Choice {
    Choice { word, later: false }
}
const fn later_choice(word: &'static str) -> Choice {
    Choice { word, later: true }
}
const fn named(names: Scalar, of: &'static Shape) -> Shape {
    Shape::Open { keys: &[], names, of, later: false }
}
pub(crate) const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, empty: None }
}
pub(crate) const fn some(of: &'static Shape, empty: &'static str) -> Shape {
    Shape::List { of, empty: Some(empty) }
}

pub(crate) const LINE: Shape = Shape::Scalar(Scalar::Line(200));
pub(crate) const DURATION: Shape = Shape::Scalar(Scalar::Duration);
const PERSON: Shape = Shape::Scalar(Scalar::Person);
pub(crate) const TEST: Shape = Shape::Scalar(Scalar::Test);
const SERVICE_NAME: Shape = Shape::Scalar(Scalar::Service);
const CHANNELS: Shape = some(&Shape::Scalar(Scalar::Channel), "nobody would be told");

const TEST_KEYS: &[Key] = &[
    key(
        "http",
        "Requests that must answer 200 to 299 on every service with traffic.",
        some(&Shape::Scalar(Scalar::HttpRequest), "nothing would be tested"),
    ),
    key("within", "The time limit. Default 1m, for a job 10m.", DURATION),
    key(
        "job",
        "In place of `http`: a suspended CronJob of the namespace, `cronjob/NAME`, run once as a Job. On Kubernetes only.",
        Shape::Scalar(Scalar::CronJob),
    ),
    key(
        "on_failure",
        "What follows when it fails: `stop` undoes the release, `continue` tells it and goes on. Default stop.",
        Shape::Scalar(Scalar::Choice(&[choice("stop"), choice("continue")])),
    ),
    later(
        "response_time_p50",
        "Compared with what is live, such as `at most 10% worse`. Not supported yet.",
        Shape::Scalar(Scalar::Worse),
    ),
    later(
        "response_time_p95",
        "Compared with what is live, such as `at most 10% worse`. Not supported yet.",
        Shape::Scalar(Scalar::Worse),
    ),
    later(
        "response_time_p99",
        "Compared with what is live, such as `at most 10% worse`. Not supported yet.",
        Shape::Scalar(Scalar::Worse),
    ),
    later(
        "error_rate",
        "Compared with what is live, such as `at most 10% worse`. Not supported yet.",
        Shape::Scalar(Scalar::Worse),
    ),
];

const SERVICE: &[Key] = &[
    key(
        "source",
        "The folder it is built from: while nothing under it changes, its live image is kept.",
        Shape::Scalar(Scalar::Folder),
    ),
    key(
        "after",
        "The services that come up before it.",
        Shape::Either(&[SERVICE_NAME, some(&SERVICE_NAME, "nothing in it")]),
    ),
    key(
        "kind",
        "`serving` has a Service in front; `worker` has none and starts serving when it starts. Default serving.",
        Shape::Scalar(Scalar::Choice(&[choice("serving"), choice("worker")])),
    ),
    key(
        "overlap",
        "For a worker: whether old and new may run at once. Default never.",
        Shape::Scalar(Scalar::Choice(&[choice("never"), choice("allowed")])),
    ),
    key(
        "image",
        "Its image repository with the registry's host. Default: `registry`/SERVICE.",
        Shape::Scalar(Scalar::Image),
    ),
];

const PERSON_KEYS: &[Key] = &[
    key("github", "The GitHub user name.", Shape::Scalar(Scalar::GithubLogin)),
    key("slack", "TEAM/USER, by their ids.", Shape::Scalar(Scalar::SlackUser)),
    key("email", "The e-mail address of their commits.", Shape::Scalar(Scalar::Email)),
    key("oidc", "The subject in tokens of the identity provider.", LINE),
];

const GROUP: Shape = Shape::Either(&[
    list(&PERSON),
    Shape::Section(&[
        later("github_team", "The members of OWNER/TEAM. Not supported yet.", LINE),
        later("oidc_group", "The members of a group of the identity provider. Not supported yet.", LINE),
    ]),
]);

const METRIC_SOURCES: &[Key] = &[
    key(
        "preset",
        "Where the metrics come from: `local` is the local cluster's own, `alb` those of Application Load Balancers in CloudWatch, found by themselves. Default local. The others are not supported yet.",
        Shape::Scalar(Scalar::Choice(&[
            choice("local"),
            choice("alb"),
            later_choice("nlb"),
            later_choice("ingress-nginx"),
            later_choice("istio"),
            later_choice("linkerd"),
            later_choice("container-insights"),
        ])),
    ),
    later("prometheus", "The address of a Prometheus. Not supported yet.", LINE),
    key(
        "publish",
        "The CloudWatch namespace that deployments are counted in, such as `Shop/Deployments`. Default: they are not.",
        Shape::Scalar(Scalar::MetricNamespace),
    ),
];

const NOTIFY: &[Key] = &[
    key("everything", "Channels that hear of everything.", CHANNELS),
    key("waiting", "Channels that hear when a release waits for an approval.", CHANNELS),
    key("live", "Channels that hear when a release is live.", CHANNELS),
    key("failed", "Channels that hear when a release failed.", CHANNELS),
    key("rolled_back", "Channels that hear when a release was rolled back.", CHANNELS),
    key("needs_a_person", "Channels that hear when something waits for a person.", CHANNELS),
];

/// The keys of one application: one YAML document.
pub(crate) const ROOT: &[Key] = &[
    must("portcullis", "The version of this language: 1.", Shape::Scalar(Scalar::Version)),
    must("application", "What a team ships: the application's name.", Shape::Scalar(Scalar::App)),
    key("repository", "The source repository, such as `github.com/owner/name`.", Shape::Scalar(Scalar::Source)),
    key("registry", "Where images are: a service's image is `registry`/SERVICE.", Shape::Scalar(Scalar::Registry)),
    key(
        "tags",
        "How a tag names its commit, the first that matches: {sha} {sha7} {version} {date} {time} {number}. Default {sha}.",
        some(&Shape::Scalar(Scalar::TagPattern), "no image could be found"),
    ),
    must("services", "What is deployed, by name.", named(Scalar::Service, &Shape::Section(SERVICE))),
    key(
        "defaults",
        "For every environment that does not say otherwise: maps are merged, lists replaced.",
        Shape::Section(ENVIRONMENT),
    ),
    must("environments", "Where it runs, by name.", named(Scalar::Environment, &Shape::Section(ENVIRONMENT))),
    key("tests", "Tests that `verify` names.", named(Scalar::Test, &Shape::Section(TEST_KEYS))),
    key(
        "metrics",
        "Where metrics come from.",
        Shape::Open {
            keys: METRIC_SOURCES,
            names: Scalar::Service,
            of: &named(Scalar::MetricName, &Shape::Any),
            later: true,
        },
    ),
    key(
        "people",
        "People that a team directory cannot give, by their id.",
        named(Scalar::Person, &Shape::Section(PERSON_KEYS)),
    ),
    key("groups", "Groups of people, by name.", named(Scalar::Group, &GROUP)),
    key("notify", "Who is told what. Channels without their \"#\".", Shape::Section(NOTIFY)),
    later("tag_regex", "A regular expression in place of `tags`. Not supported yet.", LINE),
];

/// The keys of an organisation: one YAML document for all applications.
pub(crate) const ORGANISATION: &[Key] = &[
    must("organisation", "Makes the document the organisation's: its name.", Shape::Scalar(Scalar::Line(100))),
    key("portcullis", "The version of this language: 1.", Shape::Scalar(Scalar::Version)),
    key(
        "people",
        "People of the organisation, by their id. An application can not describe them again.",
        named(Scalar::Person, &Shape::Section(PERSON_KEYS)),
    ),
    key(
        "groups",
        "Groups of people, by name. An application can use them, not change them.",
        named(Scalar::Group, &GROUP),
    ),
    key(
        "accounts",
        "AWS accounts by name, 12 digits in quotes. An environment may then say `account: NAME`, and no other account.",
        named(Scalar::Label, &Shape::Scalar(Scalar::Account)),
    ),
    key(
        "always",
        "Gates of every environment of every application: an application can add to them, never remove or weaken one.",
        Shape::Section(ALWAYS),
    ),
    key(
        "environments",
        "What is asked of the environments of one name beside that.",
        named(
            Scalar::Environment,
            &Shape::Section(&[must(
                "always",
                "Gates of the environments of this name, in every application.",
                Shape::Section(ALWAYS_HERE),
            )]),
        ),
    ),
    key(
        "breaker",
        "So many environments that roll back by themselves in a time stop every line. Default `5 in 10m`.",
        Shape::Either(&[
            Shape::Scalar(Scalar::Often),
            Shape::Section(&[
                must("environments", "So many environments.", Shape::Scalar(Scalar::Count)),
                must("within", "Counted over this time.", DURATION),
            ]),
        ]),
    ),
];

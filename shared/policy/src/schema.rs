//! The one table of everything a policy may say. The shape check and the JSON Schema are both read from it.

use crate::grammar::Measure;
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

const fn key(name: &'static str, doc: &'static str, shape: Shape) -> Key {
    Key { name, doc, shape, later: false, required: false }
}
const fn must(name: &'static str, doc: &'static str, shape: Shape) -> Key {
    Key { name, doc, shape, later: false, required: true }
}
const fn later(name: &'static str, doc: &'static str, shape: Shape) -> Key {
    Key { name, doc, shape, later: true, required: false }
}
const fn choice(word: &'static str) -> Choice {
    Choice { word, later: false }
}
const fn later_choice(word: &'static str) -> Choice {
    Choice { word, later: true }
}
const fn named(names: Scalar, of: &'static Shape) -> Shape {
    Shape::Open { keys: &[], names, of, later: false }
}
const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, empty: None }
}
const fn some(of: &'static Shape, empty: &'static str) -> Shape {
    Shape::List { of, empty: Some(empty) }
}

const LINE: Shape = Shape::Scalar(Scalar::Line(200));
const DURATION: Shape = Shape::Scalar(Scalar::Duration);
const DURATION_OR_ZERO: Shape = Shape::Scalar(Scalar::DurationOrZero);
const ALARM: Shape = Shape::Scalar(Scalar::AlarmPattern);
const PERSON: Shape = Shape::Scalar(Scalar::Person);
const TEST: Shape = Shape::Scalar(Scalar::Test);
const SERVICE_NAME: Shape = Shape::Scalar(Scalar::Service);
const CHANNELS: Shape = some(&Shape::Scalar(Scalar::Channel), "nobody would be told");

/// The metrics every policy may name, with what each is measured in.
pub(crate) const METRICS: &[Key] = &[
    key("requests", "Requests per second, such as `above 5/s`.", Shape::Threshold(Measure::Rate)),
    key("error_rate", "Share of answers with a 5xx status, such as `below 1%`.", Shape::Threshold(Measure::Percent)),
    key("client_error_rate", "Share of answers with a 4xx status.", Shape::Threshold(Measure::Percent)),
    key("response_time_p50", "Median response time, such as `below 200ms`.", Shape::Threshold(Measure::Time)),
    key("response_time_p95", "95th percentile of the response time.", Shape::Threshold(Measure::Time)),
    key("response_time_p99", "99th percentile of the response time.", Shape::Threshold(Measure::Time)),
    later("cpu", "Processor use. Not supported yet.", Shape::Threshold(Measure::Any)),
    later("memory", "Memory use. Not supported yet.", Shape::Threshold(Measure::Any)),
    later("restarts", "Restarts of pods. Not supported yet.", Shape::Threshold(Measure::Any)),
];

const WHEN: &[Key] = &[
    key("health", "`failing for 5m`: readiness lost for that long.", Shape::Scalar(Scalar::Failing)),
    METRICS[0],
    METRICS[1],
    METRICS[2],
    METRICS[3],
    METRICS[4],
    METRICS[5],
    METRICS[6],
    METRICS[7],
    METRICS[8],
    later(
        "vulnerability",
        "A finding of this severity in what is live, also long after. Not supported yet.",
        Shape::Scalar(Scalar::Choice(&[choice("critical"), choice("high")])),
    ),
];

const SCAN: &[Key] = &[
    key(
        "critical",
        "What a critical finding means: `block`, `block above N`, `review by GROUP`, `review above N by GROUP` or `allow`.",
        SCAN_ACTION,
    ),
    key("high", "What a finding of high severity means.", SCAN_ACTION),
    key("medium", "What a finding of medium severity means.", SCAN_ACTION),
    key("low", "What a finding of low severity means.", SCAN_ACTION),
    key("informational", "What an informational finding means.", SCAN_ACTION),
    key("undefined", "What a finding without a rating means.", SCAN_ACTION),
    key("max_age", "A scan older than this does not count. Default 24h.", DURATION),
    key(
        "waivers",
        "Findings that do not count, each for a time.",
        list(&Shape::Section(&[
            must("id", "The vulnerability's id, such as `CVE-2026-1234`.", Shape::Scalar(Scalar::Line(64))),
            must("reason", "Why it does not count.", Shape::Scalar(Scalar::Line(300))),
            must("until", "From the first moment of this day (UTC) it counts again.", Shape::Scalar(Scalar::Date)),
        ])),
    ),
];
const SCAN_ACTION: Shape = Shape::Scalar(Scalar::ScanAction);

const GATES: &[Key] = &[
    key(
        "scan",
        "The image scan: what findings of each severity mean. A severity that is not named is allowed.",
        Shape::Section(SCAN),
    ),
    key(
        "approvals",
        "Each entry a quorum, all needed: `[1 of release-managers, 1 of security]`. Never counts: the requester, an author, a bot.",
        some(&Shape::Scalar(Scalar::Quorum), "nobody would be asked"),
    ),
    key("typed_confirmation", "The text a person must type who starts a release.", Shape::Scalar(Scalar::Line(100))),
    key("expire", "How long a release waits for its gates. Default 24h.", DURATION),
    key(
        "remind",
        "When a waiting release is brought to mind again. Default 4h, or half of `expire` if that is less.",
        DURATION,
    ),
    later(
        "checks",
        "Checks of the commit, each `NAME` or `NAME by APP`. Not supported yet.",
        some(&LINE, "nothing would be checked"),
    ),
    later("coverage", "Test coverage, such as `at least 70%`. Not supported yet.", Shape::Threshold(Measure::Percent)),
    later(
        "secrets",
        "What a found secret means. Not supported yet.",
        Shape::Scalar(Scalar::Choice(&[choice("block"), choice("allow")])),
    ),
    later(
        "pull_request",
        "What the commit's pull request must have. Not supported yet.",
        Shape::Section(&[
            key("approvals", "So many approving reviews.", Shape::Scalar(Scalar::Count)),
            key(
                "require",
                "What else it must be.",
                some(
                    &Shape::Scalar(Scalar::Choice(&[
                        choice("signed commits"),
                        choice("up to date"),
                        choice("conversations resolved"),
                    ])),
                    "nothing would be required",
                ),
            ),
        ]),
    ),
    later(
        "promoted_from",
        "The environment that the same images, or images of the same source, must have been live in. Not supported yet.",
        Shape::Section(&[
            must("environment", "Which environment.", Shape::Scalar(Scalar::Environment)),
            key(
                "same",
                "What must be the same.",
                Shape::Scalar(Scalar::Choice(&[choice("digests"), choice("source_tree")])),
            ),
        ]),
    ),
];

const STRATEGY: Shape = Shape::Either(&[
    Shape::Scalar(Scalar::Choice(&[choice("blue-green"), choice("rolling")])),
    Shape::Section(&[key(
        "blue-green",
        "The other colour comes up beside the live one, then traffic moves.",
        Shape::Section(&[
            key(
                "switch",
                "`at once`, or `manual`: a person says when. Default at once.",
                Shape::Scalar(Scalar::Choice(&[choice("at once"), choice("manual")])),
            ),
            later(
                "steps",
                "Shares of traffic, the last 100%. Not supported yet.",
                some(&Shape::Scalar(Scalar::Amount(Measure::Percent)), "no traffic would move"),
            ),
            later("every", "How long each step is watched. Not supported yet.", DURATION),
        ]),
    )]),
]);

const WATCH: &[Key] = &[
    key("for", "So much healthy, measured time makes a release live. Default 5m, for a rolling update 2m.", DURATION),
    key("every", "The length of one measured window. Default 1m, or half of `for` if that is less.", DURATION),
    key("healthy", "What must stay true until live, by metric.", Shape::Rules(METRICS)),
    key(
        "traffic",
        "Less traffic than this is inconclusive: watch on, then ask. Such as `at least 5/s`.",
        Shape::Threshold(Measure::Rate),
    ),
    key(
        "extend",
        "How much longer an inconclusive watch may go on before a person is asked. Default: as long as `for`.",
        DURATION_OR_ZERO,
    ),
    key(
        "alarms",
        "Alarms by consequence. One already ringing, or a pattern without an alarm, holds the release.",
        Shape::Section(&[
            key(
                "roll_back",
                "Alarms that undo the release; `*` for any part of a name.",
                some(&ALARM, "nothing in it"),
            ),
            key("ask", "Alarms that make a person look.", some(&ALARM, "nothing in it")),
        ]),
    ),
];

const ROLL_BACK: &[Key] = &[
    key("window", "So long after live a release may still be rolled back by itself. Default 24h.", DURATION_OR_ZERO),
    key("keep_old", "So long after live the old pods stay up: back in seconds. Default 1h.", DURATION_OR_ZERO),
    key("when", "What undoes a release at any time inside the window, by metric.", Shape::Rules(WHEN)),
    later(
        "planned",
        "How a planned rollback moves traffic; automatic and emergency ones are at once. Not supported yet.",
        Shape::Section(&[
            key(
                "steps",
                "Shares of traffic, the last 100%.",
                some(&Shape::Scalar(Scalar::Amount(Measure::Percent)), "no traffic would move"),
            ),
            key("every", "How long each step is watched.", DURATION),
        ]),
    ),
    later(
        "before",
        "`backup` and tests to run beside a rollback, never in its way. Not supported yet.",
        some(&TEST, "nothing in it"),
    ),
];

const LIMITS: &[Key] = &[
    key("gather", "For all images of a commit to arrive. Default 2h.", DURATION),
    key("backup", "For the backup. Default 10m.", DURATION),
    key("ready", "For a colour to become ready. Default 10m.", DURATION),
    key("write", "For one write to the cluster to be seen done. Default 2m.", DURATION),
    key("escalate", "For a person to act before they are reminded louder. Default 15m.", DURATION),
    key("look", "Between two looks at a gate's facts. Default 1m.", DURATION),
];

/// The keys of an environment, and of `defaults`.
pub(crate) const ENVIRONMENT: &[Key] = &[
    key(
        "mode",
        "How much Portcullis does: `observe` records what it would have done, `gate` judges, watches and rolls back what others deploy, `deploy` does everything.",
        Shape::Scalar(Scalar::Choice(&[choice("observe"), choice("gate"), choice("deploy")])),
    ),
    key("account", "The AWS account, 12 digits in quotes.", Shape::Scalar(Scalar::Account)),
    key("region", "The AWS region.", Shape::Scalar(Scalar::Region)),
    key("role", "The role assumed in the environment's own account.", LINE),
    key("cluster", "The EKS cluster's name, or a kubeconfig context.", Shape::Scalar(Scalar::Cluster)),
    key("namespace", "The Kubernetes namespace.", Shape::Scalar(Scalar::Object)),
    key("branch", "A push to this branch opens a release here.", Shape::Scalar(Scalar::Branch)),
    key("moving_tag", "Images that this tag is put on open a release here.", Shape::Scalar(Scalar::Tag)),
    key("strategy", "How new images take over: `blue-green` or `rolling`.", STRATEGY),
    key("gates", "What must hold before a release.", Shape::Section(GATES)),
    key(
        "backup",
        "The backup before each release.",
        Shape::Section(&[key("keep", "How long backups are kept. Default 30d.", DURATION)]),
    ),
    key("verify", "Tests of the new version before it serves, in order, by their names under `tests`.", list(&TEST)),
    key("watch", "The watch after the switch, until live.", Shape::Section(WATCH)),
    key("roll_back", "The way back.", Shape::Section(ROLL_BACK)),
    key(
        "waiting",
        "When several releases wait: `newest` replaces the others until one has an approval, `queue` keeps all. Default newest.",
        Shape::Scalar(Scalar::Choice(&[choice("newest"), choice("queue")])),
    ),
    key("limits", "Time limits of the steps.", Shape::Section(LIMITS)),
    later(
        "traffic",
        "How traffic moves, where it is not a Service's selector. Not supported yet.",
        Shape::Scalar(Scalar::Choice(&[choice("alb"), choice("gateway")])),
    ),
    later(
        "after_live",
        "What is done once a release is live. Not supported yet.",
        some(&Shape::Scalar(Scalar::Choice(&[choice("lock_tags")])), "nothing in it"),
    ),
    later("freeze", "When nothing is released. Not supported yet.", Shape::Any),
    later("rules", "Rules of your own. Not supported yet.", Shape::Any),
];

const TEST_KEYS: &[Key] = &[
    key(
        "http",
        "Requests that must answer 200 to 299 on every service with traffic.",
        some(&Shape::Scalar(Scalar::HttpRequest), "nothing would be tested"),
    ),
    key("within", "The time limit. Default 1m, for a job 10m.", DURATION),
    later(
        "job",
        "A suspended CronJob of the namespace to run once. Not supported yet.",
        Shape::Scalar(Scalar::CronJob),
    ),
    later(
        "on_failure",
        "Whether a failure stops the release. Not supported yet.",
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
        "Where the metrics come from: `local` is the local cluster's own. The others are not supported yet.",
        Shape::Scalar(Scalar::Choice(&[
            choice("local"),
            later_choice("alb"),
            later_choice("nlb"),
            later_choice("ingress-nginx"),
            later_choice("istio"),
            later_choice("linkerd"),
            later_choice("container-insights"),
        ])),
    ),
    later("prometheus", "The address of a Prometheus. Not supported yet.", LINE),
    later(
        "publish",
        "The CloudWatch namespace that figures about deployments are written to. Not supported yet.",
        LINE,
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
    later("freeze", "When nothing is released. Not supported yet.", Shape::Any),
    later("rules", "Rules of your own. Not supported yet.", Shape::Any),
];

//! The part of the table for one environment: where it is, its gates, its watch, its way back.

use crate::amounts::Measure;
use crate::scalar::Scalar;
use crate::schema::{DURATION, Key, LINE, Shape, TEST, choice, key, later, list, must, some};

const ALARM: Shape = Shape::Scalar(Scalar::AlarmPattern);
const DURATION_OR_ZERO: Shape = Shape::Scalar(Scalar::DurationOrZero);
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
    key(
        "vulnerability",
        "A new finding of this severity or worse in what is live, also long after, if what served before is free of it.",
        Shape::Scalar(Scalar::Choice(&[
            choice("critical"),
            choice("high"),
            choice("medium"),
            choice("low"),
            choice("informational"),
            choice("undefined"),
        ])),
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
        "settle",
        "A scan complete for less than this does not count yet: findings may follow. Default 60s for images in ECR, else 0s.",
        DURATION_OR_ZERO,
    ),
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

const WINDOW: Shape = Shape::Section(&[
    must("name", "Its name, as a verdict shows it.", Shape::Scalar(Scalar::Line(60))),
    key(
        "every",
        "Again and again: a recurrence rule of RFC 5545, such as `FREQ=WEEKLY;BYDAY=FR`.",
        Shape::Scalar(Scalar::Line(200)),
    ),
    key(
        "starts",
        "With `every`: the first day and the local time of day, such as `2026-01-02T18:00`.",
        Shape::Scalar(Scalar::LocalTime),
    ),
    key("for", "With `every`: how long each one lasts.", DURATION),
    key("from", "Once: the first moment, in local time.", Shape::Scalar(Scalar::LocalTime)),
    key("until", "Once: the first moment after it, in local time.", Shape::Scalar(Scalar::LocalTime)),
    must("zone", "The IANA time zone of these times, such as `Europe/Berlin`.", Shape::Scalar(Scalar::Line(64))),
]);

const SCAN_GATE: Key = key(
    "scan",
    "The image scan: what findings of each severity mean. A severity that is not named is allowed.",
    Shape::Section(SCAN),
);
const APPROVALS: Key = key(
    "approvals",
    "Each entry a quorum, all needed: `[1 of release-managers, 1 of security]`. Never counts: the requester, an author, a bot.",
    some(&Shape::Scalar(Scalar::Quorum), "nobody would be asked"),
);
const TYPED: Key =
    key("typed_confirmation", "The text a person must type who starts a release.", Shape::Scalar(Scalar::Line(100)));
const PROMOTED_FROM: Key = key(
    "promoted_from",
    "The environment of the same application that the same images must have been verified live in.",
    Shape::Section(&[
        must("environment", "Which environment.", Shape::Scalar(Scalar::Environment)),
        key(
            "same",
            "What must be the same: `digests`, or, weaker, `source_tree`: images built from the same source. Default digests.",
            Shape::Scalar(Scalar::Choice(&[choice("digests"), choice("source_tree")])),
        ),
        key("within", "So long ago at most. Default: whenever.", DURATION),
    ]),
);
const FREEZE: Key = key(
    "freeze",
    "Windows in which no release begins. A window is once (`from`, `until`) or again and again (`every`, `starts`, `for`). Rollbacks never look at it.",
    some(&WINDOW, "nothing in it"),
);
const OPEN: Key = key(
    "open",
    "Windows outside which no release begins, written as those of `freeze`; where both hold, `freeze` wins.",
    some(&WINDOW, "no release could ever begin"),
);
const OWN_RULES: Key = key(
    "rules",
    "Rules of your own by name, each one `forbid` policy in Cedar, written as a block after `|`.",
    Shape::Open { keys: &[], names: Scalar::Label, of: &Shape::Scalar(Scalar::Cedar), later: false },
);
const BREAK_GLASS: Key = key(
    "break_glass",
    "Who may skip a gate together, with a reason, such as `2 of oncall`; at least two people. Default: nobody.",
    Shape::Scalar(Scalar::GlassQuorum),
);
const CHECKS: Key = later(
    "checks",
    "Checks of the commit, each `NAME` or `NAME by APP`. Not supported yet.",
    some(&LINE, "nothing would be checked"),
);
const COVERAGE: Key =
    later("coverage", "Test coverage, such as `at least 70%`. Not supported yet.", Shape::Threshold(Measure::Percent));
const SECRETS: Key = later(
    "secrets",
    "What a found secret means. Not supported yet.",
    Shape::Scalar(Scalar::Choice(&[choice("block"), choice("allow")])),
);
const PULL_REQUEST: Key = later(
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
);

/// The gates of an environment.
pub(crate) const GATES: &[Key] = &[
    SCAN_GATE,
    APPROVALS,
    TYPED,
    PROMOTED_FROM,
    FREEZE,
    OPEN,
    OWN_RULES,
    BREAK_GLASS,
    key("expire", "How long a release waits for its gates. Default 24h.", DURATION),
    key(
        "remind",
        "When a waiting release is brought to mind again. Default 4h, or half of `expire` if that is less.",
        DURATION,
    ),
    CHECKS,
    COVERAGE,
    SECRETS,
    PULL_REQUEST,
];

/// What an organisation may always ask for, everywhere.
pub(crate) const ALWAYS: &[Key] =
    &[SCAN_GATE, APPROVALS, TYPED, FREEZE, OPEN, OWN_RULES, BREAK_GLASS, CHECKS, COVERAGE, SECRETS, PULL_REQUEST];

/// What an organisation may always ask for in the environments of one name.
pub(crate) const ALWAYS_HERE: &[Key] = &[
    SCAN_GATE,
    APPROVALS,
    TYPED,
    PROMOTED_FROM,
    FREEZE,
    OPEN,
    OWN_RULES,
    BREAK_GLASS,
    CHECKS,
    COVERAGE,
    SECRETS,
    PULL_REQUEST,
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
            key(
                "steps",
                "Shares of traffic that move one after the other, such as `[25%, 50%, 100%]`: each larger than the one before, the last 100%, at most 20. More than one needs `traffic: alb` or `gateway`. Default `[100%]`.",
                some(&Shape::Scalar(Scalar::Amount(Measure::Percent)), "no traffic would move"),
            ),
            key(
                "every",
                "So much healthy, measured time at each step but the last; at least one window of the watch. Default 2m, or two windows if those are longer.",
                DURATION,
            ),
        ]),
    )]),
]);

const WATCH: &[Key] = &[
    key("for", "So much healthy, measured time makes a release live. Default 5m, for a rolling update 2m.", DURATION),
    key(
        "every",
        "The length of one measured window. Default 1m, or half of `for` if that is less. At least 100ms; with `metrics: { preset: alb }` at least 1m.",
        DURATION,
    ),
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
    key(
        "most",
        "So many rollbacks by itself in a time stop the line, and a person is asked. Default `3 in 1h`.",
        Shape::Either(&[
            Shape::Scalar(Scalar::Often),
            Shape::Section(&[
                must("rollbacks", "So many rollbacks.", Shape::Scalar(Scalar::Count)),
                must("within", "Counted over this time.", DURATION),
            ]),
        ]),
    ),
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
    key(
        "account",
        "The AWS account: 12 digits in quotes, or its name under the organisation's `accounts`.",
        Shape::Scalar(Scalar::AccountOrName),
    ),
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
        Shape::Section(&[
            key("keep", "How long backups are kept. Default 30d.", DURATION),
            key(
                "secrets",
                "The public key of age (X25519, `age1...`) that Secrets in backups are encrypted to. Default: backups have no Secrets.",
                Shape::Scalar(Scalar::AgeRecipient),
            ),
        ]),
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
    key(
        "traffic",
        "What moves traffic from one colour to the other: the `selector` of the Service, all of it at once, or weights: of an `alb` (an Ingress of the AWS Load Balancer Controller) or of a `gateway` (an HTTPRoute). Default selector.",
        Shape::Scalar(Scalar::Choice(&[choice("selector"), choice("alb"), choice("gateway")])),
    ),
    later(
        "after_live",
        "What is done once a release is live. Not supported yet.",
        some(&Shape::Scalar(Scalar::Choice(&[choice("lock_tags")])), "nothing in it"),
    ),
];

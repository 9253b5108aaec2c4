//! Which adapters `serve` runs on, and that what was said of them does not contradict itself.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::ServeCluster;
use crate::exit;

const HEADING: &str = "On AWS";

/// Which adapters `serve` runs on. With none of these options everything is in `--data`.
///
/// `--ledger dynamodb` is the choice of who runs the process on EC2 or EKS: what was decided outlives the machine, and
/// the Lambda functions and other processes may work on the same ledger. The registry is then ECR and the metrics are
/// CloudWatch's, unless other ones are named. Region and credentials are found as every AWS tool finds them.
///
/// The cargo feature `aws` holds all of it. It is on by default, so that one binary serves a laptop and a cluster: an AWS
/// client is made when it is first used, so whoever names none pays with bytes on the disk only. Where these matter,
/// `--no-default-features` leaves it out, and each of these options is then refused.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AdapterFlags {
    /// Where the ledger is kept.
    #[arg(long, value_enum, default_value_t = LedgerKind::Sqlite, env = "PORTCULLIS_LEDGER", help_heading = HEADING)]
    ledger: LedgerKind,
    /// With --ledger dynamodb: its table, as infra/hub.yaml makes it.
    #[arg(long, value_name = "NAME", env = "PORTCULLIS_TABLE", help_heading = HEADING)]
    table: Option<String>,
    /// Where wakes wait: sqs if several processes work on one ledger.
    #[arg(long, value_enum, default_value_t = QueueKind::Sqlite, env = "PORTCULLIS_QUEUE", help_heading = HEADING)]
    queue: QueueKind,
    /// With --queue sqs: its address.
    #[arg(long, value_name = "URL", env = "PORTCULLIS_QUEUE_URL", help_heading = HEADING)]
    queue_url: Option<String>,
    /// Where backups go, as s3://BUCKET/PREFIX; without it, into --data.
    #[arg(long, value_name = "S3", env = "PORTCULLIS_BLOBS", help_heading = HEADING)]
    blobs: Option<Bucket>,
    /// The policies in place of --policy: every .yaml and .yml file right under s3://BUCKET/PREFIX, looked at once a minute.
    #[arg(long, value_name = "S3", env = "PORTCULLIS_POLICY_LOCATION", conflicts_with = "policy", help_heading = HEADING)]
    policy_location: Option<Bucket>,
    /// Where images and their scans are read; without it, ecr with --ledger dynamodb, else files.
    #[arg(long, value_enum, env = "PORTCULLIS_REGISTRY", help_heading = HEADING)]
    registry: Option<RegistryKind>,
    /// Where traffic and alarms are read; without it, cloudwatch with --ledger dynamodb, else local.
    #[arg(long, value_enum, env = "PORTCULLIS_METRICS", help_heading = HEADING)]
    metrics: Option<MetricsKind>,
    /// What roles that a policy names are told when they are assumed (sts:ExternalId).
    #[arg(long, value_name = "ID", env = "PORTCULLIS_EXTERNAL_ID", help_heading = HEADING)]
    external_id: Option<String>,
}

/// Where the ledger is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum LedgerKind {
    /// In --data.
    #[default]
    Sqlite,
    /// In a DynamoDB table.
    #[value(name = "dynamodb")]
    DynamoDb,
}

/// Where wakes wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum QueueKind {
    /// In --data.
    #[default]
    Sqlite,
    /// In a standard SQS queue.
    Sqs,
}

/// Where images and their scans are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RegistryKind {
    /// Files in --data.
    Files,
    /// Amazon ECR, and Amazon Inspector where enhanced scanning is on.
    Ecr,
}

/// Where traffic and alarms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetricsKind {
    /// The local cluster's own.
    Local,
    /// Amazon CloudWatch.
    #[value(name = "cloudwatch")]
    CloudWatch,
}

/// A place in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The bucket's name.
    pub(crate) name: String,
    /// What stands before every key: nothing, or a text that ends with a slash.
    pub(crate) prefix: String,
}

impl FromStr for Bucket {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("s3://").ok_or("it is not of the form s3://BUCKET/PREFIX")?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err("it names no bucket: s3://BUCKET/PREFIX".to_owned());
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { name: name.to_owned(), prefix })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.name, self.prefix)
    }
}

/// The adapters that were chosen; by default the embedded ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Adapters {
    /// The DynamoDB table that the ledger is in; none = SQLite.
    pub(crate) table: Option<String>,
    /// The address of the SQS queue; none = SQLite.
    pub(crate) queue: Option<String>,
    /// Where blobs are; none = files.
    pub(crate) blobs: Option<Bucket>,
    /// Where the policies are; none = files.
    pub(crate) policies: Option<Bucket>,
    /// Whether the registry is ECR; else files.
    pub(crate) ecr: bool,
    /// Whether metrics and alarms are CloudWatch's; else the local cluster's.
    pub(crate) cloudwatch: bool,
    /// Whether clusters are those of EKS, each reached with its environment's role.
    pub(crate) eks: bool,
    /// What roles are told when they are assumed.
    pub(crate) external_id: Option<String>,
}

impl Adapters {
    /// Whether any of them calls AWS.
    pub(crate) fn on_aws(&self) -> bool {
        *self != Self::default()
    }
}

impl AdapterFlags {
    /// Whether the local cluster's metrics were asked for by name.
    pub(crate) fn says_local_metrics(&self) -> bool {
        self.metrics == Some(MetricsKind::Local)
    }

    /// What was chosen.
    ///
    /// # Errors
    /// Options contradict each other, one lacks another, or this binary was built without AWS.
    pub(crate) fn chosen(self, cluster: ServeCluster) -> anyhow::Result<Adapters> {
        let needs = |one: &str, other: &str| Err(exit::usage(format!("{one} needs {other}")));
        let idle = |one: &str, other: &str| {
            Err(exit::usage(format!(
                "{one} means nothing without {other}: say both, or unset it (perhaps it is in the environment)"
            )))
        };
        let table = match (self.ledger, self.table.filter(|name| !name.is_empty())) {
            (LedgerKind::DynamoDb, None) => return needs("--ledger dynamodb", "the name of its table: --table NAME"),
            (LedgerKind::Sqlite, Some(_)) => return idle("--table", "--ledger dynamodb"),
            (_, table) => table,
        };
        let queue = match (self.queue, self.queue_url.filter(|url| !url.is_empty())) {
            (QueueKind::Sqs, None) => return needs("--queue sqs", "its address: --queue-url URL"),
            (QueueKind::Sqlite, Some(_)) => return idle("--queue-url", "--queue sqs"),
            (_, url) => url,
        };
        if table.is_none() && queue.is_some() {
            return Err(exit::usage(
                "--queue sqs contradicts --ledger sqlite: whoever else reads that queue cannot read this ledger. \
                 Say --ledger dynamodb, or leave the queue in --data",
            ));
        }
        let adapters = Adapters {
            ecr: self.registry.map_or(table.is_some(), |registry| registry == RegistryKind::Ecr),
            cloudwatch: self.metrics.map_or(table.is_some(), |metrics| metrics == MetricsKind::CloudWatch),
            table,
            queue,
            blobs: self.blobs,
            policies: self.policy_location,
            eks: cluster == ServeCluster::Eks,
            external_id: self.external_id.filter(|id| !id.is_empty()),
        };
        if adapters.external_id.is_some() && !adapters.ecr && !adapters.cloudwatch && !adapters.eks {
            return idle("--external-id", "--registry ecr, --metrics cloudwatch or --cluster eks, which assume roles");
        }
        if adapters.on_aws() && !cfg!(feature = "aws") {
            return Err(exit::usage("this binary was built without AWS: build it with the cargo feature `aws`"));
        }
        Ok(adapters)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;
    use crate::exit::{Exit, Stop};

    fn chosen(more: &[&str]) -> anyhow::Result<Adapters> {
        let line = ["portcullis", "serve", "--policy", "p.yaml", "--data", "d"].iter().chain(more);
        let Command::Serve(serve) = Cli::try_parse_from(line).unwrap().command else { panic!("another command") };
        serve.adapters.chosen(serve.cluster)
    }

    const LEDGER: [&str; 4] = ["--ledger", "dynamodb", "--table", "ledger"];

    #[test]
    fn without_options_nothing_calls_aws() {
        assert_eq!(chosen(&[]).unwrap(), Adapters::default());
        let embedded = ["--ledger", "sqlite", "--queue", "sqlite", "--registry", "files", "--metrics", "local"];
        assert!(!chosen(&embedded).unwrap().on_aws());
    }

    #[cfg(feature = "aws")]
    #[test]
    fn clusters_of_eks_are_reached_through_aws() {
        let eks = chosen(&["--cluster", "eks", "--external-id", "volteryde"]).unwrap();
        assert!(eks.eks && eks.on_aws());
        assert_eq!(eks.external_id.as_deref(), Some("volteryde"));
    }

    #[cfg(feature = "aws")]
    #[test]
    fn a_ledger_on_dynamodb_brings_ecr_and_cloudwatch_unless_others_are_named() {
        let table = Some("ledger".to_owned());
        let usual = Adapters { table: table.clone(), ecr: true, cloudwatch: true, ..Adapters::default() };
        assert_eq!(chosen(&LEDGER).unwrap(), usual);
        let named = [&LEDGER[..], &["--registry", "files", "--metrics", "local"]].concat();
        assert_eq!(chosen(&named).unwrap(), Adapters { table, ..Adapters::default() });
        let queue = [&LEDGER[..], &["--queue", "sqs", "--queue-url", "https://sqs.example/wakes"]].concat();
        assert_eq!(chosen(&queue).unwrap().queue.as_deref(), Some("https://sqs.example/wakes"));
        let ecr = Adapters { ecr: true, ..Adapters::default() };
        assert_eq!(
            chosen(&["--registry", "ecr"]).unwrap(),
            ecr,
            "a ledger of SQLite beside ECR is a small installation"
        );
    }

    #[test]
    fn what_contradicts_is_refused_with_the_option_that_is_wrong() {
        let sqs = ["--queue", "sqs", "--queue-url", "https://sqs.example/wakes"];
        for (more, said) in [
            (&["--ledger", "dynamodb"][..], "--table NAME"),
            (&["--ledger", "dynamodb", "--table", ""], "--table NAME"),
            (&["--table", "ledger"], "--ledger dynamodb"),
            (&["--queue", "sqs"], "--queue-url URL"),
            (&["--queue-url", "https://sqs.example/wakes"], "--queue sqs"),
            (&sqs, "--ledger sqlite"),
            (&["--external-id", "volteryde"], "--registry ecr"),
            (&["--external-id", "volteryde", "--cluster", "kubeconfig"], "--cluster eks"),
        ] {
            let error = chosen(more).unwrap_err();
            let stop = error.downcast_ref::<Stop>().unwrap();
            assert_eq!(stop.code, Exit::Usage);
            assert!(stop.words.contains(said), "{more:?}: {}", stop.words);
        }
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn a_binary_without_aws_says_so() {
        let error = chosen(&LEDGER).unwrap_err().to_string();
        assert!(error.contains("feature `aws`"), "{error}");
    }

    #[test]
    fn policies_come_from_one_place() {
        let parse = |more: &[&str]| Cli::try_parse_from(["portcullis", "serve", "--data", "d"].iter().chain(more));
        assert!(parse(&["--policy-location", "s3://policies/live"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--policy-location", "s3://policies/live", "--policy", "p.yaml"]).is_err());
    }

    #[test]
    fn a_place_in_s3_is_a_bucket_and_a_prefix() {
        for (text, prefix) in [("s3://b", ""), ("s3://b/", ""), ("s3://b/a/c", "a/c/"), ("s3://b/a/", "a/")] {
            let bucket: Bucket = text.parse().unwrap();
            assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("b", prefix), "{text}");
        }
        for wrong in ["b/a", "s3://", "s3:///a", "https://b/a"] {
            assert!(wrong.parse::<Bucket>().is_err(), "{wrong}");
        }
    }
}

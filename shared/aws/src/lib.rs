//! The engine's ports on AWS, each passing the same contract tests as its embedded twin.
//!
//! Each file knows one service; all of them share one HTTP client and one TLS stack ([`client`]). It must not know the
//! functions: it reads no environment variable of ours, decides nothing, and keeps nothing that the ledger does not have.
//! One feature per service, so that a function links only what it uses.
//!
//! | module | port | service |
//! | --- | --- | --- |
//! | [`ledger`] | `Ledger` | DynamoDB |
//! | [`queue`] | `Queue` | SQS |
//! | [`blobs`] | `Blobs` | S3 |
//! | [`policies`] | `Policies` | S3 |
//! | [`registry`], [`inspector`] | `Registry` | ECR, Inspector |
//! | [`metrics`] | `Metrics` | CloudWatch, Elastic Load Balancing |
//! | [`deployments`] | | CloudWatch |
//! | [`secrets`] | | Secrets Manager |
//! | [`cluster_access`] | | EKS, STS |
//! | [`roles`] | | STS: which credentials each place is asked with |
//!
//! Start reading at [`client`], then [`ledger::table`].

pub mod client;
mod error;

#[cfg(feature = "blobs")]
pub mod blobs;
#[cfg(feature = "ledger")]
pub mod ledger;
#[cfg(feature = "policies")]
pub mod policies;
#[cfg(feature = "queue")]
pub mod queue;

#[cfg(feature = "metrics")]
mod alarms;
#[cfg(feature = "cluster-access")]
pub mod cluster_access;
#[cfg(feature = "metrics")]
pub mod deployments;
#[cfg(feature = "registry")]
pub mod inspector;
#[cfg(feature = "metrics")]
mod load_balancers;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(any(feature = "registry", feature = "metrics", feature = "secrets"))]
mod moment;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(any(feature = "registry", feature = "metrics", feature = "cluster-access"))]
pub mod roles;
#[cfg(feature = "secrets")]
pub mod secrets;

//! The engine's `Cluster` on Kubernetes, a twin of the local cluster: both pass the same contract.
//!
//! It must not know releases, gates or policies, nor who asks and why: an action says everything, and performing it makes
//! no choice. It knows no cloud either; how a cluster of EKS is reached comes in through the engine's `Access`.
//!
//! Start reading at [`cluster::KubernetesCluster`]; the fence protocol is in [`fence`] (the judgement) and [`mod@write`] (how it
//! is carried out), the names of all objects are in [`objects`].
//!
//! | module | what |
//! | --- | --- |
//! | [`client`], [`error`] | requests: limits, repeats, refusals in words |
//! | [`objects`] | names, labels, annotations |
//! | [`observe`], [`problems`] | what is there, and what keeps pods from being ready |
//! | [`mod@write`], [`colour`], [`bundle`] | fenced writes, coloured copies, what is created where nothing is |
//! | [`traffic`] | where a selector may move traffic, and where it loses requests |
//! | [`weights`], [`targets`] | weights between two colours on a route or an Ingress, and what is healthy behind them |
//! | [`room`], [`quantity`] | how many more pods fit |
//! | [`manifests`] | the hash of what would be applied |
//! | [`adopt`] | a plain Deployment and Service become a service with colours, and back |
//! | [`backup`], [`hooks`], [`owners`] | backups, tests, who else writes |
//! | [`init`], [`doctor`], [`rbac`] | a first policy, what stands in the way, the rights that are needed |
//! | [`admission`] | the API server refuses what was not released |

pub mod admission;
pub mod adopt;
pub mod backup;
pub mod bundle;
pub mod client;
pub mod cluster;
pub mod colour;
pub mod doctor;
pub mod error;
pub mod fence;
pub mod hooks;
pub mod init;
pub mod manifests;
pub mod objects;
pub mod observe;
pub mod owners;
pub mod problems;
pub mod quantity;
pub mod rbac;
pub mod room;
pub mod targets;
pub mod traffic;
pub mod weights;
pub mod write;

#[cfg(test)]
mod fake;

pub use cluster::{KubernetesCluster, Options};

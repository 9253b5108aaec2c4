//! What the readers make of AWS's answers, on the HTTP layer of the SDK: the bodies in `shapes/` are of the form that
//! AWS documents (`shapes/README.md` says where), and what was asked is read from the request that went out.

#![cfg(all(feature = "registry", feature = "metrics", feature = "secrets", feature = "cluster-access"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

/// The text of a shape.
macro_rules! shape {
    ($name:literal) => {
        include_str!(concat!("shapes/", $name))
    };
}

mod cbor;
mod replay;

mod alarms;
mod cluster_access;
mod deployments;
mod inspector;
mod load_balancers;
mod metrics;
mod registry;
mod registry_tags;
mod roles;
mod scans;
mod secrets;

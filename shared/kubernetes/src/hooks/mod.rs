//! Tests of a colour before it serves: requests through the API server ([`http`]), and Jobs from a template ([`jobs`]).
//!
//! Both are safe to repeat: a request reads, and a Job is named by target and intention, so that whoever comes second
//! finds the first one's. Nothing here waits: what is still running is asked about again.

pub mod http;
pub mod jobs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Test, TestKind};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortResult, TestResult};
use serde_json::Value as Json;

use crate::client::{Client, kinds};
use crate::objects::{COLOUR, coloured, name};
use http::{AT_ONCE, Through, smoke};
use jobs::{JobTest, clean_up};

/// Runs a test against these colours, or looks at the one that runs.
///
/// # Errors
/// When the cluster cannot be reached or does not let us read; a test that fails is an answer.
pub async fn test(
    client: &Client,
    target: &TargetId,
    namespace: &str,
    intention: Seq,
    test: &Test,
    against: &BTreeMap<ServiceName, Colour>,
) -> PortResult<TestResult> {
    let all: Vec<_> = against.iter().map(|(service, colour)| front(client, namespace, service, *colour)).collect();
    let found: Vec<Front> = stream::iter(all).buffered(AT_ONCE).try_collect().await?;
    let mut fronts = BTreeMap::new();
    for ((service, colour), front) in against.iter().zip(found) {
        match front {
            Front::Of(through) => {
                fronts.insert(service.clone(), (*colour, through));
            }
            Front::Worker => {}
            Front::Missing(why) => return Ok(TestResult::Failed(why)),
        }
    }
    match &test.kind {
        TestKind::Http { paths } => {
            let services: Vec<Through> = fronts.into_values().map(|(_, through)| through).collect();
            smoke(client, namespace, paths, &services, test.within).await
        }
        TestKind::Job { cronjob } => {
            let address = |(colour, through): &(Colour, Through)| {
                let scheme = if through.tls { "https" } else { "http" };
                (*colour, format!("{scheme}://{}.{namespace}:{}", through.service, through.number))
            };
            let mut addresses: BTreeMap<ServiceName, (Colour, String)> =
                against.iter().map(|(service, colour)| (service.clone(), (*colour, String::new()))).collect();
            addresses.extend(fronts.iter().map(|(service, front)| (service.clone(), address(front))));
            let job = JobTest {
                target,
                intention,
                test: &test.name,
                template: cronjob,
                within: test.within,
                against: addresses,
            };
            let result = jobs::run(client, namespace, &job).await?;
            if result != TestResult::Running {
                // What is left of earlier tests costs room, never a verdict.
                let outstanding = BTreeSet::from([intention]);
                if let Err(error) = clean_up(client, namespace, target, &outstanding, now()).await {
                    tracing::warn!(%error, "finished tests are not cleared away");
                }
            }
            Ok(result)
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What a colour is asked through.
#[derive(Debug, PartialEq, Eq)]
enum Front {
    Of(Through),
    /// No requests come to it.
    Worker,
    /// It should have one; in words.
    Missing(String),
}

/// The Service that asks exactly this colour. Never one that might answer from the other: a test that asks what served
/// before would pass for anything.
async fn front(client: &Client, namespace: &str, service: &ServiceName, colour: Colour) -> PortResult<Front> {
    let (services, deployments, own_name) = (kinds::SERVICES, kinds::DEPLOYMENTS, coloured(service, colour));
    let (own, main, deployment) = tokio::join!(
        client.get(&services, namespace, &own_name),
        client.get(&services, namespace, service.as_str()),
        client.get(&deployments, namespace, &own_name),
    );
    Ok(chosen(service, colour, own?.as_ref(), main?.as_ref(), deployment?.is_some()))
}

fn chosen(service: &ServiceName, colour: Colour, own: Option<&Json>, main: Option<&Json>, has_colours: bool) -> Front {
    let of = |found: &Json| {
        through(found).map_or_else(|| Front::Missing(format!("Service/{} has no port", name(found))), Front::Of)
    };
    match (own, main) {
        (Some(own), _) => of(own),
        (None, None) => Front::Worker,
        (None, Some(main)) => match main["spec"]["selector"][COLOUR].as_str() {
            Some(selected) if selected == colour.to_string() => of(main),
            // Neither the Service nor a Deployment knows colours: it is replaced pod by pod.
            None if !has_colours => of(main),
            _ => Front::Missing(format!(
                "there is no Service {} to ask {service} {colour} through, and Service/{service} answers from elsewhere",
                coloured(service, colour)
            )),
        },
    }
}

/// A Service with the port that speaks HTTP: the one named so, else its first.
fn through(service: &Json) -> Option<Through> {
    let ports = service["spec"]["ports"].as_array()?;
    let speaks = |port: &&Json| port["name"] == "http" || port["appProtocol"] == "http";
    let port = ports.iter().find(speaks).or_else(|| ports.first())?;
    let number = port["port"].as_u64()?;
    let tls = port["name"] == "https" || port["appProtocol"] == "https" || number == 443;
    Some(Through { service: name(service).to_owned(), port: number.to_string(), number, tls })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, selector: &Json) -> Json {
        json!({ "metadata": { "name": name }, "spec": { "selector": selector,
            "ports": [{ "name": "metrics", "port": 9090 }, { "name": "http", "port": 80 }] } })
    }

    #[test]
    fn a_colour_is_never_asked_through_what_answers_from_the_other() {
        let web = ServiceName::new("web").unwrap();
        let own = service("web-green", &json!({ COLOUR: "green" }));
        let blue = service("web", &json!({ "app": "web", COLOUR: "blue" }));
        let green = service("web", &json!({ "app": "web", COLOUR: "green" }));
        let plain = service("web", &json!({ "app": "web" }));
        let through =
            |service: &str| Front::Of(Through { service: service.into(), port: "80".into(), number: 80, tls: false });
        let of = |own, main, coloured| chosen(&web, Colour::Green, own, main, coloured);
        assert_eq!(of(Some(&own), Some(&blue), true), through("web-green"));
        assert_eq!(of(None, Some(&green), true), through("web"));
        assert!(matches!(of(None, Some(&blue), true), Front::Missing(_)));
        assert!(matches!(of(None, Some(&plain), true), Front::Missing(_)), "it may answer from both");
        assert_eq!(of(None, Some(&plain), false), through("web"), "rolling");
        assert_eq!(of(None, None, true), Front::Worker);
    }

    #[test]
    fn the_port_that_speaks_http_is_asked() {
        let mut found = service("web", &json!({}));
        found["spec"]["ports"] = json!([{ "name": "https", "port": 8443 }]);
        let asked = through(&found).unwrap();
        assert!(asked.tls && asked.port == "8443");
        found["spec"]["ports"] = json!([]);
        assert_eq!(through(&found), None);
    }
}

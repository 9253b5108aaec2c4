//! What must hold at every moment while something is released: whoever breaks it for a blink is caught by looking often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const EVERY: Duration = Duration::from_millis(40);

/// Looks at a Service's endpoints all the time. Dropping it ends the looking.
#[derive(Debug)]
pub struct Guard {
    seen: Arc<Mutex<Watched>>,
    looking: JoinHandle<()>,
}

/// What a guard saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// How often it could look.
    pub looks: u64,
    /// The fewest ready endpoints of any look.
    pub fewest: Option<usize>,
    /// When there were fewer than had to be: the first few.
    pub too_few: Vec<String>,
}

impl Guard {
    /// From now on a Service must always have so many ready endpoints.
    pub fn start(client: &Client, namespace: &str, service: &str, least: usize) -> Self {
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let seen = Arc::<Mutex<Watched>>::default();
        let (began, noted) = (Instant::now(), seen.clone());
        let looking = tokio::spawn(async move {
            loop {
                // An API server that is away says nothing of the endpoints.
                if let Ok(slices) = slices.list(&of_service).await {
                    let endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
                    let ready =
                        endpoints.filter(|one| one.conditions.as_ref().and_then(|is| is.ready).unwrap_or(true)).count();
                    let mut noted = noted.lock().unwrap();
                    noted.looks += 1;
                    noted.fewest = Some(noted.fewest.map_or(ready, |fewest| fewest.min(ready)));
                    if ready < least && noted.too_few.len() < 5 {
                        let line =
                            format!("{ready} of {least} ready endpoints {:.1?} after the beginning", began.elapsed());
                        noted.too_few.push(line);
                    }
                }
                sleep(EVERY).await;
            }
        });
        Self { seen, looking }
    }

    /// What it has seen.
    pub fn seen(&self) -> Watched {
        self.seen.lock().unwrap().clone()
    }

    /// Panics if it ever saw too few endpoints, or never looked.
    pub fn assert_kept(&self) {
        let seen = self.seen();
        assert!(seen.looks > 0 && seen.too_few.is_empty(), "{seen:?}");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

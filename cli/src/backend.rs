//! Where commands read and record: a running server, or a data directory on this machine.

use std::sync::Arc;

use portcullis_domain::names::{ReleaseId, Subject, TargetId};
use portcullis_embedded::blobs::FileBlobs;
use portcullis_embedded::clock::SystemClock;
use portcullis_embedded::people::People;
use portcullis_embedded::registry::FileRegistry;
use portcullis_embedded::source::FileSource;
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::absent::Absent;
use portcullis_engine::ports::{Clock as _, Policies, Ports};
use portcullis_engine::recorder::{RecordError, Recorder};

use crate::acting::{self, Acted};
use crate::api::{Answered, Ask, ReleaseDetail, ReleaseSummary, State, StopAsk, StopAt, TargetSummary};
use crate::args::Place;
use crate::client::{Client, token_from_env};
use crate::exit;
use crate::layout::Layout;
use crate::policies::FilePolicies;
use crate::show::screen::Screen;
use crate::view::Library;

/// Where commands read and record.
pub(crate) enum Backend {
    /// A running server.
    Server(Box<Client>),
    /// A data directory.
    Data(Data),
}

/// A data directory, read beside a server or written without one.
pub(crate) struct Data {
    layout: Layout,
    policies: Option<Arc<FilePolicies>>,
    library: Library,
}

impl Backend {
    /// As the flags say.
    pub(crate) fn open(place: &Place, screen: Screen) -> anyhow::Result<Self> {
        match (&place.server, &place.data) {
            (Some(_), Some(_)) => {
                Err(exit::usage("--server and --data are both set, perhaps one by the environment: unset one"))
            }
            (None, None) => Err(exit::usage(
                "where? Say --server URL (a running server) or --data DIR (its data directory, on its machine)",
            )),
            (Some(server), None) => Ok(Self::Server(Box::new(Client::from_env(server)?))),
            (None, Some(data)) => {
                let policies = if place.policy.is_empty() {
                    None
                } else {
                    Some(Arc::new(FilePolicies::load(&place.policy, screen)?))
                };
                let layout = Layout::new(data);
                if let Some(place) = layout.ledger_elsewhere()? {
                    return Err(exit::usage(format!(
                        "the ledger of {} is {place}: ask the server that runs on it, by --server URL",
                        data.display()
                    )));
                }
                let store = SqliteStore::open_read_only(data)?;
                let named = policies.clone().map(|policies| policies as Arc<dyn Policies>);
                Ok(Self::Data(Data { layout, policies, library: Library::new(store, named) }))
            }
        }
    }

    /// Every environment.
    pub(crate) async fn targets(&self) -> anyhow::Result<Vec<TargetSummary>> {
        match self {
            Self::Server(client) => client.targets().await,
            Self::Data(data) => data.library.targets(SystemClock.now()).await,
        }
    }

    /// The releases, newest first.
    pub(crate) async fn releases(
        &self,
        target: Option<&TargetId>,
        state: Option<State>,
    ) -> anyhow::Result<Vec<ReleaseSummary>> {
        match self {
            Self::Server(client) => client.releases(target, state).await,
            Self::Data(data) => data.library.releases(target, state).await,
        }
    }

    /// Everything about one release.
    pub(crate) async fn release(&self, id: ReleaseId) -> anyhow::Result<ReleaseDetail> {
        let found = match self {
            Self::Server(client) => client.release(id).await?,
            Self::Data(data) => data.library.release(id).await?,
        };
        found.ok_or_else(|| exit::not_found(format!("there is no release {id}; `portcullis release list` has them")))
    }

    /// Asks for something.
    pub(crate) async fn command(&self, target: &TargetId, ask: &Ask) -> anyhow::Result<Answered> {
        match self {
            Self::Server(client) => client.command(target, ask).await,
            Self::Data(data) => {
                let (who, recorder) = data.writer().await?;
                match acting::command(&recorder, target, &who, ask.clone()).await.map_err(failed)? {
                    Acted::Done(answered) => Ok(answered),
                    Acted::Refused(why) => Err(exit::refused(why)),
                    Acted::Malformed(why) => Err(exit::usage(why)),
                }
            }
        }
    }

    /// Puts a stop on a scope, or lifts it.
    pub(crate) async fn stop(&self, ask: StopAsk) -> anyhow::Result<Option<StopAt>> {
        match self {
            Self::Server(client) => client.stop(&ask).await,
            Self::Data(data) => {
                let (who, recorder) = data.writer().await?;
                let known = data.policies.as_ref().is_some_and(|known| acting::is_known(&known.all(), &who));
                if !known {
                    return Err(exit::refused(format!("{who} is in no policy; add them under people: or to a group")));
                }
                acting::stop(&recorder, &who, ask, SystemClock.now()).await.map_err(failed)?.map_err(exit::usage)
            }
        }
    }

    /// What to say after something was recorded: nothing happens where no server runs.
    pub(crate) fn afterword(&self) -> Option<&'static str> {
        match self {
            Self::Server(_) => None,
            Self::Data(_) => Some("Recorded. It is acted on as soon as a server runs on this data directory."),
        }
    }
}

impl Data {
    /// The person of `PORTCULLIS_TOKEN`, and a recorder that holds the directory's lock.
    async fn writer(&self) -> anyhow::Result<(Subject, Recorder)> {
        let Some(policies) = &self.policies else {
            return Err(exit::usage("to record in a data directory, say which policies are in force: --policy FILE"));
        };
        let token = token_from_env()?;
        let root = self.layout.root().to_owned();
        let who = tokio::task::spawn_blocking(move || People::open_in(&root)?.who(&token)).await??;
        let who = who.ok_or_else(|| exit::refused("nobody has the token in PORTCULLIS_TOKEN"))?;
        let store = SqliteStore::open(self.layout.root())?;
        let none = Arc::new(Absent);
        let ports = Ports {
            ledger: store.clone(),
            queue: store,
            blobs: Arc::new(FileBlobs::new(&self.layout.blobs())?),
            registry: Arc::new(FileRegistry::new(&self.layout.registry())?),
            source: Arc::new(FileSource::new(&self.layout.source())?),
            cluster: none.clone(),
            metrics: none,
            clock: Arc::new(SystemClock),
            policies: policies.clone(),
        };
        Ok((who, Recorder::new(ports)))
    }
}

fn failed(error: RecordError) -> anyhow::Error {
    match error {
        RecordError::NoPolicy { .. } => exit::not_found(error.to_string()),
        error => error.into(),
    }
}

//! One seed from its beginning to its end: processes of the real engine, and everything that happens to them.

mod outside;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::names::{ReleaseId, ServiceName, TargetId};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::{Metric, Policy};
use portcullis_domain::scope::Scope;
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::breaker::{self, FleetBreaker};
use portcullis_engine::driver::Driver;
use portcullis_engine::memory::{Build, MemoryNotices};
use portcullis_engine::ports::{Notice, Notices, PortResult, Ports};
use portcullis_engine::reader;
use portcullis_engine::recorder::Recorder;
use portcullis_engine::sweep::Sweep;
use tokio::task::JoinSet;

use crate::broken::Broken;
use crate::dice::{Dice, Purpose};
use crate::hub::{Hub, Next};
use crate::judge;
use crate::line::{Line, Moment, Outside, SkewedClock};
use crate::people::{self, Deed, Seen};
use crate::scene;
use crate::story::{Happening, Script};
use crate::weather::{Fault, Weather};
use crate::{Options, Outcome, panics};

/// Processes: two that drive and sweep, one that takes events and people's commands.
pub(crate) const PROCESSES: u8 = 3;
/// The one that takes events and commands.
const FRONT: u8 = 2;
/// How often somebody sweeps.
const SWEEP: Millis = Millis::minutes(1);
/// How often the readers of the ledger are told what is new.
const NOTICES: Millis = Millis::minutes(3);
/// A received wake that is not acknowledged comes again after this.
const HIDDEN: Millis = Millis::seconds(30);
/// How often people look, once nothing fails any more.
const TEND: Millis = Millis::minutes(1);
/// Patches that left before it was calm have landed after this.
const LANDED: Millis = Millis::minutes(5);
/// After so long everything has ended, or waits for a person.
const END: Millis = Millis::hours(3);
/// After so long without anybody, whoever is needed has been asked several times.
const DESERTED: Millis = Millis::minutes(50);
/// More steps than any seed takes: a busy loop.
const MOST_STEPS: u64 = 400_000;
/// Attempts of an event's sender, and of a person.
const ATTEMPTS: u8 = 4;

/// A process of the engine.
struct Process {
    clock: Arc<SkewedClock>,
    ports: Ports,
    recorder: Recorder,
    driver: Driver,
    sweep: Sweep,
    tasks: JoinSet<()>,
    alive: bool,
}

/// The engine of one process, as it starts.
fn engine(ports: &Ports) -> (Recorder, Driver, Sweep) {
    let recorder = Recorder::new(ports.clone());
    let driver = Driver::new(ports.clone(), recorder.clone());
    let sweep = Sweep::new(ports.clone(), recorder.clone());
    (recorder, driver, sweep)
}

impl Process {
    fn new(id: u8, outside: &Arc<Outside>) -> Self {
        let clock = SkewedClock::new(&outside.hub, 0);
        let ports = Line::ports(id, outside, &clock);
        let (recorder, driver, sweep) = engine(&ports);
        Self { clock, ports, recorder, driver, sweep, tasks: JoinSet::new(), alive: true }
    }

    /// It dies: everything it had in memory is gone. What it left outside stays.
    fn die(&mut self) {
        self.tasks = JoinSet::new();
        (self.recorder, self.driver, self.sweep) = engine(&self.ports);
        self.alive = false;
    }
}

/// One seed's run.
pub(crate) struct Run {
    seed: u64,
    hub: Arc<Hub>,
    outside: Arc<Outside>,
    policy: Policy,
    target: TargetId,
    processes: Vec<Process>,
    ending: Dice,
    /// Nobody comes in the end: who is needed must be asked louder and louder.
    deserted: bool,
    calm_at: Timestamp,
    is_calm: bool,
    seen: Seen,
    answered: Vec<(ReleaseId, PlanId)>,
    deliveries: u64,
    readers: Vec<(String, Arc<dyn Notices>)>,
    finished: bool,
}

impl Run {
    /// The scene of a seed. None = its names are not valid, which no seed's are.
    pub(crate) fn new(seed: u64, options: Options) -> Option<Self> {
        let mut story = Dice::new(seed, Purpose::Story);
        let policy = scene::policy(&mut story);
        let mut weather = Weather::of(&mut story);
        if options.calm {
            weather = Weather::CALM;
        }
        let hub = Hub::new(seed, scene::BEGIN, weather, options.traced);
        let outside = Arc::new(scene::outside(&hub, &policy, seed, options.broken)?);
        let target = policy.target.clone();
        let processes: Vec<Process> = (0..PROCESSES).map(|id| Process::new(id, &outside)).collect();
        let mut script = Script { dice: &mut story, policy: &policy, happenings: Vec::with_capacity(64) };
        let calm_at = script.write();
        for (at, happening) in script.happenings {
            let rough = matches!(happening, Happening::Crash(_) | Happening::Skew(..) | Happening::Edit(_));
            if !(options.calm && rough) {
                hub.schedule(at, happening);
            }
        }
        hub.schedule(scene::BEGIN, Happening::Sweep);
        hub.schedule(scene::BEGIN + NOTICES, Happening::Notices);
        let mut ending = Dice::new(seed, Purpose::Ending);
        let deserted = ending.chance(120);
        let reader: Arc<dyn Notices> = match options.broken {
            Some(Broken::Notices) => Arc::new(Forgetful(outside.notices.clone())),
            _ => outside.notices.clone(),
        };
        let fleet: Arc<dyn Notices> = Arc::new(FleetBreaker::new(processes[0].ports.clone()));
        let readers = vec![("everything".to_owned(), reader), (breaker::READER.to_owned(), fleet)];
        Some(Self {
            seed,
            hub,
            outside,
            policy,
            target,
            processes,
            ending,
            deserted,
            calm_at,
            is_calm: false,
            seen: Seen::default(),
            answered: Vec::new(),
            deliveries: 0,
            readers,
            finished: false,
        })
    }

    /// Plays it to its end, and judges.
    pub(crate) async fn play(mut self) -> Outcome {
        let mut failure = None;
        while !self.finished && failure.is_none() {
            let Some(next) = self.hub.next() else { break };
            match next {
                Next::Call(Some(waker)) => waker.wake(),
                Next::Call(None) => {}
                Next::Happening(happening) => self.happens(*happening),
            }
            // Everybody who can goes on, until all wait.
            tokio::task::yield_now().await;
            if self.outside.broken == Some(Broken::Backups) {
                self.outside.lose_a_backup();
            }
            if let Some(panic) = panics::take() {
                failure = Some(format!("the engine panicked: {panic}"));
            } else if self.hub.steps() > MOST_STEPS {
                failure = Some("it does not come to rest: a busy loop".to_owned());
            }
        }
        for process in &mut self.processes {
            process.tasks.shutdown().await;
        }
        tokio::task::yield_now().await;
        let judged = judge::judge(&self.outside, &self.policy, self.deserted);
        let failure = failure.or(judged.failure);
        let story = failure.is_some().then_some(judged.story);
        let (hash, trace, faults) = self.hub.finish();
        Outcome {
            seed: self.seed,
            hash,
            endings: judged.endings,
            reached: judged.reached,
            appended: judged.appended,
            lasted: self.hub.now().since(scene::BEGIN),
            steps: self.hub.steps(),
            faults,
            failure,
            story,
            trace,
        }
    }

    /// A process that is alive, of those that drive.
    fn driver(&self) -> Option<usize> {
        let alive: Vec<usize> = (0..usize::from(FRONT)).filter(|id| self.processes[*id].alive).collect();
        (!alive.is_empty()).then(|| alive[self.hub.turn_of(alive.len())])
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Queue => self.wakes(),
            Happening::Land(patch) => {
                let _ = self.outside.land(None, &patch);
            }
            Happening::Sweep => self.sweep(),
            Happening::Notices => self.tell(),
            Happening::Crash(id) => self.crash(id),
            Happening::Restart(id) => {
                self.hub.note(1, || format!("p{id} starts again"));
                self.processes[usize::from(id)].alive = true;
            }
            Happening::Skew(id, ahead) => {
                if ahead != 0 {
                    self.hub.count(Fault::ClockSkew);
                }
                self.hub.note(2, || format!("p{id}'s clock is {ahead} ms ahead"));
                self.processes[usize::from(id)].clock.set(ahead);
            }
            Happening::Event(fact, attempt) => self.deliver(fact, attempt),
            Happening::Push(push) => self.push(&push),
            Happening::Alarm(alarm, rings) => self.alarm(alarm, rings),
            Happening::Person(who, deed, attempt) => self.person(who, deed, attempt),
            Happening::Edit(edit) => self.edit(&edit),
            Happening::Errors(service, n, rate) => {
                self.hub.note(3, || format!("{service} {n}: errors {rate} of 10000"));
                if rate > 0 {
                    self.hub.count(Fault::BadMetrics);
                }
                self.outside.metrics.set(scene::image_of(&service, n), Metric::ErrorRate, rate);
            }
            Happening::Silence(service, silent) => {
                self.hub.note(4, || format!("{service}: no metrics {silent}"));
                if silent {
                    self.hub.count(Fault::BadMetrics);
                }
                self.outside.metrics.silence(&service, silent);
            }
            Happening::Sicken(service, n) => {
                self.hub.count(Fault::Sick);
                self.hub.note(5, || format!("{service} {n}: its pods are no longer ready"));
                self.outside.happened(Moment::Sick(service.clone()));
                let build = Build { problem: Some("CrashLoopBackOff".to_owned()), ..Build::default() };
                self.outside.cluster.set_build(scene::image_of(&service, n), build);
            }
            Happening::Tests(fail) => {
                self.hub.note(6, || format!("tests fail: {fail}"));
                if fail {
                    self.outside.cluster.fail_test("smoke", "a fault on purpose");
                } else {
                    self.outside.cluster.pass_tests();
                }
            }
            Happening::Calm => self.calm(),
            Happening::Tend => self.tend(),
        }
    }

    /// Hands every visible wake to a process.
    fn wakes(&mut self) {
        let Some(_) = self.driver() else {
            self.hub.schedule(self.hub.now() + Millis::seconds(1), Happening::Queue);
            return;
        };
        let received = self.outside.queue.take(100);
        if received.is_empty() {
            return;
        }
        self.hub.schedule(self.hub.now() + HIDDEN, Happening::Queue);
        for one in received {
            let Some(id) = self.driver() else { return };
            let process = &mut self.processes[id];
            let (driver, ports) = (process.driver.clone(), process.ports.clone());
            self.hub.note(one.wake.version.0, || format!("p{id} gets the wake of {}", one.wake.version));
            while process.tasks.try_join_next().is_some() {}
            process.tasks.spawn(async move {
                if driver.step(&one.wake).await.is_ok_and(|report| !report.needs_newer) {
                    // A wake that could not be acknowledged comes again.
                    let _ = ports.queue.done(&one.receipt).await;
                }
            });
        }
    }

    fn sweep(&mut self) {
        self.hub.schedule(self.hub.now() + SWEEP, Happening::Sweep);
        let Some(id) = self.driver().filter(|_| self.outside.broken != Some(Broken::Wakes)) else { return };
        let process = &mut self.processes[id];
        let sweep = process.sweep.clone();
        process.tasks.spawn(async move {
            // What failed is swept again in a minute.
            let _ = sweep.once().await;
        });
    }

    fn tell(&mut self) {
        self.hub.schedule(self.hub.now() + NOTICES, Happening::Notices);
        let Some(id) = self.driver() else { return };
        let process = &mut self.processes[id];
        let (ports, readers) = (process.ports.clone(), self.readers.clone());
        process.tasks.spawn(async move {
            // What was not told is told the next time.
            let _ = reader::deliver(&ports, &readers).await;
        });
    }

    fn crash(&mut self, id: u8) {
        let process = &mut self.processes[usize::from(id)];
        if self.is_calm || !process.alive {
            return;
        }
        self.hub.count(Fault::Crash);
        self.hub.note(7, || format!("p{id} dies"));
        process.die();
    }

    // ---- the end ----

    /// Nothing fails any more, clocks are right again, everybody is there.
    fn calm(&mut self) {
        self.hub.note(11, || "from here on nothing fails any more".to_owned());
        self.is_calm = true;
        self.hub.set_weather(Weather::CALM);
        for process in &mut self.processes {
            process.alive = true;
            process.clock.set(0);
        }
        self.outside.cluster.pass_tests();
        for alarm in [scene::ALARM, scene::ASKS] {
            self.alarm(alarm, false);
        }
        for service in self.policy.services.clone() {
            self.outside.metrics.silence(&service.name, false);
            for n in 1..=3 {
                self.outside.metrics.set(scene::image_of(&service.name, n), Metric::ErrorRate, 0);
            }
        }
        self.hub.schedule(self.hub.now() + TEND, Happening::Tend);
    }

    fn state(&self) -> Target {
        judge::head(&self.outside, &self.target).unwrap_or_default()
    }

    /// People look at what they are asked; when nothing is left to be asked, it is the end.
    fn tend(&mut self) {
        self.hub.schedule(self.hub.now() + TEND, Happening::Tend);
        let state = self.state();
        let calm_for = self.hub.now().since(self.calm_at);
        if calm_for >= LANDED && (state.releases.is_empty() || calm_for >= if self.deserted { DESERTED } else { END }) {
            self.finished = true;
            return;
        }
        if self.deserted {
            return;
        }
        let choice = self.ending.below(4);
        for (who, deed) in people::asked(&state, self.hub.now(), &self.answered, choice) {
            if let Deed::ApproveThis(release, plan) = deed
                && who == "kofi"
            {
                self.answered.push((release, plan));
            }
            self.person(who, deed, 0);
        }
        let stopped = judge::stops(&self.outside, &Scope::of(&self.target));
        if stopped {
            self.person("ama", Deed::Lift, 0);
        }
        if state.hands_off.is_some() {
            self.person("kofi", Deed::HandsOn, 0);
        }
    }
}

/// A reader that loses one notice in ten.
struct Forgetful(Arc<MemoryNotices>);

#[async_trait]
impl Notices for Forgetful {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        if notice.event.seq.0 % 10 == 3 { Ok(()) } else { self.0.tell(notice).await }
    }
}

/// The services of a policy, by name.
pub(crate) fn services(policy: &Policy) -> BTreeMap<ServiceName, bool> {
    policy.services.iter().map(|service| (service.name.clone(), service.is_worker())).collect()
}

//! Runs a schedule on an engine, one worker a trace, and compares every result.
//!
//! Owns the workers' start and end. Why they cannot block each other forever is docs/ordering.md; nothing here backs off
//! or runs twice, and should they stand still all the same, a watchdog ends the run.
//!
//! * [`turn`]: progress, and waiting for it: of [`threads`], and [`shared`] by workers that are a [`process`] each.
//! * [`watch`]: the watchdog.
//! * [`pace`]: recorded times. [`worker`]: one trace. [`operation`], [`traversal`]: what it does at a row.
//! * [`tally`]: what it saw. [`timeline`]: when it waited. [`noting`]: when it ran which rows.

pub mod noting;
mod operation;
mod pace;
mod process;
mod shared;
mod stop;
pub mod tally;
mod threads;
pub mod timeline;
mod traversal;
pub mod turn;
pub mod watch;
pub mod worker;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{Engine, EngineError, Key, StoreMode};
use crate::order::explain::Planted;
use crate::schedule::Schedule;
use crate::trace::columns::ABSENT;
use crate::trace::{History, Trace};
use noting::Noting;
use process::Children;
use shared::SharedTurns;
use tally::{Mismatch, Tally};
use threads::ThreadTurns;
use timeline::{Lane, Timeline};
use turn::Turns;
use watch::{Ended, Place, Places, Stuck};
use worker::{Halt, Point, Worker};

/// Called at every point where a worker may be delayed: trace, row, point.
pub type Pause<'a> = &'a (dyn Fn(usize, u32, Point) + Sync);

/// How to run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Compare results, and the database at the end.
    pub check: bool,
    /// Measure every operation.
    pub latency: bool,
    /// Note when each worker waited.
    pub timeline: bool,
    /// Note when each worker ran which rows, too.
    pub noting: Option<Noting>,
    /// Do nothing before its recorded time has come, so many times as fast; none for as fast as possible.
    pub speed: Option<f64>,
    /// The run is ended if for so long no worker gets on. No total time is limited.
    pub patience: Duration,
    /// For tests: delays workers.
    pub pause: Option<Pause<'a>>,
}

/// See [`Options::patience`]. The order leaves no reason for it, and no single recorded line takes as long without the processor
/// or the disk.
const PATIENCE: Duration = Duration::from_secs(30);

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            check: true,
            latency: true,
            timeline: false,
            noting: None,
            speed: None,
            patience: PATIENCE,
            pause: None,
        }
    }
}

/// One run.
pub struct Run {
    /// From the moment all workers were ready to the moment the last one was done.
    pub time: Duration,
    /// What they saw together.
    pub tally: Tally,
    /// When they waited; empty lanes unless that was to be noted.
    pub timeline: Timeline,
}

/// Why a run failed. The database is as far as it got.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The engine failed at a line.
    #[error("{place}: {error}")]
    Engine {
        /// `file:line`.
        place: String,
        /// What it says.
        error: EngineError,
    },
    /// The engine could not be opened, filled or read at the end.
    #[error("{0}")]
    Setup(EngineError),
    /// A worker that is a process died.
    #[error("the worker of {trace} {how}")]
    Died {
        /// Its trace.
        trace: String,
        /// What became of it.
        how: String,
    },
    /// Nobody got on any more.
    #[error("the replay stands still, for {} s by now: {}", patience.as_secs(), list(stuck))]
    StandsStill {
        /// For how long.
        patience: Duration,
        /// Who waits for whom.
        stuck: Vec<Stuck>,
    },
    /// A worker panicked: a bug in quorate.
    #[error("a worker panicked; this is a bug in quorate")]
    Panicked,
}

fn list(stuck: &[Stuck]) -> String {
    stuck.iter().map(Stuck::to_string).collect::<Vec<_>>().join("; ")
}

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        RunError::Setup(error)
    }
}

/// The exit code of a process that has to end because a worker of its cannot be ended.
const HANGS: i32 = 3;

/// Runs `schedule` once.
///
/// If the replay stands still, it is ended with [`RunError::StandsStill`]. Only if the engine does not let a thread go even
/// then, the whole process ends, with exit code 3 and that message on standard error.
pub fn run(
    history: &History,
    schedule: &Schedule,
    engine: &dyn Engine,
    options: &Options<'_>,
) -> Result<Run, RunError> {
    let crew = Crew::new(history, schedule, engine, options)?;
    let ended = Ended::default();
    let run = std::thread::scope(|scope| {
        scope.spawn(|| crew.watch(&ended));
        let _ended = SetAtEnd(&ended);
        crew.run()
    });
    crew.stood_still().map_or(run, Err)
}

/// Ends the watchdog, be it by panic.
struct SetAtEnd<'a>(&'a Ended);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Stores what was there before the traces began.
fn plant(history: &History, schedule: &Schedule, engine: &dyn Engine) -> Result<(), EngineError> {
    let Some(first) = history.traces.first().filter(|_| !schedule.planted.is_empty()) else {
        return Ok(());
    };
    let mut session = engine.session(first)?;
    for &Planted { key, value, .. } in &schedule.planted {
        let key = Key::new(key, &history.records.keys);
        session.store(key, history.records.values.bytes(value), StoreMode::Replace)?;
    }
    Ok(())
}

fn no_process(error: std::io::Error) -> EngineError {
    EngineError { message: format!("no process can be made for each worker: {error}"), io: true }
}

/// What all workers share.
struct Crew<'a> {
    history: &'a History,
    schedule: &'a Schedule,
    engine: &'a dyn Engine,
    options: &'a Options<'a>,
    turns: Turns,
    /// Where the workers are, and behind them this thread.
    places: Places,
    /// The workers, if they are processes.
    children: Children,
    /// What the watchdog found, if the replay stood still.
    stuck: Mutex<Option<Vec<Stuck>>>,
    /// What the workers' times count from.
    epoch: Instant,
}

/// Ends the others' waits when a worker leaves without having finished, be it by panic.
struct StopUnlessDone<'a> {
    turns: &'a Turns,
    at: Place<'a>,
    done: bool,
}

impl Drop for StopUnlessDone<'_> {
    fn drop(&mut self) {
        self.at.ended();
        if !self.done {
            self.turns.stop();
        }
    }
}

impl<'a> Crew<'a> {
    fn new(
        history: &'a History,
        schedule: &'a Schedule,
        engine: &'a dyn Engine,
        options: &'a Options<'a>,
    ) -> Result<Crew<'a>, RunError> {
        let traces = history.traces.len();
        let turns = match engine.wants_processes() && traces > 1 {
            true => Turns::Processes(SharedTurns::new(traces).map_err(no_process)?),
            false => Turns::Threads(ThreadTurns::new(traces)),
        };
        let places = Places::new(traces + 1).map_err(no_process)?;
        let (children, stuck) = (Children::default(), Mutex::default());
        Ok(Crew { history, schedule, engine, options, turns, places, children, stuck, epoch: Instant::now() })
    }

    fn run(&self) -> Result<Run, RunError> {
        let own = self.places.of(self.history.traces.len());
        own.enter();
        own.works();
        plant(self.history, self.schedule, self.engine)?;
        own.ended();
        let mut run = match &self.turns {
            Turns::Processes(turns) => self.processes(turns),
            Turns::Threads(_) if self.history.traces.len() == 1 => self.alone(),
            Turns::Threads(turns) => self.all(turns),
        }?;
        own.works();
        if self.options.check {
            compare_end(self.history, self.schedule, self.engine, &mut run.tally)?;
        }
        Ok(run)
    }

    /// One trace, in this thread, where a debugger finds it.
    fn alone(&self) -> Result<Run, RunError> {
        let start = Instant::now();
        let (mut tally, result) = self.trace(0, || ());
        let time = start.elapsed();
        let timeline = self.timeline(start, vec![std::mem::take(&mut tally.lane)]);
        result.map_err(|halt| self.error(0, halt)).map(|()| Run { time, tally, timeline })
    }

    /// Each trace in a thread.
    fn all(&self, turns: &ThreadTurns) -> Result<Run, RunError> {
        let (start, results) = std::thread::scope(|scope| {
            let worker = |number| scope.spawn(move || self.trace(number, || turns.meet()));
            let workers: Vec<_> = (0..self.history.traces.len()).map(worker).collect();
            turns.begin();
            let start = Instant::now();
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            (start, results)
        });
        let time = start.elapsed();
        self.together(start, time, results.into_iter().map(|result| result.map_err(|_| RunError::Panicked)))
    }

    /// Each trace in a process.
    fn processes(&self, turns: &SharedTurns) -> Result<Run, RunError> {
        let work = |number| self.trace(number, || turns.meet());
        let (start, time, outcomes) =
            process::run(turns, self.history.traces.len(), &self.children, &work).map_err(no_process)?;
        let outcomes = outcomes.into_iter().enumerate().map(|(number, outcome)| {
            outcome.map_err(|death| {
                let trace = self.history.traces[number].path.display().to_string();
                RunError::Died { trace, how: death.0 }
            })
        });
        self.together(start, time, outcomes)
    }

    /// Ends the run if it stands still. Whoever waits for a turn ends, and with that lets go of its locks; who waits for a
    /// lock is told by the engine, or killed if it is a process. A thread that nothing reaches can only be ended with this
    /// whole process.
    fn watch(&self, ended: &Ended) {
        let patience = self.options.patience;
        if !self.places.stand_still(patience, ended) {
            return;
        }
        let stuck = self.places.stuck(self.history);
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = Some(stuck.clone());
        self.turns.stop();
        self.engine.interrupt();
        if ended.wait(patience) {
            return;
        }
        self.children.kill();
        if !ended.wait(patience) {
            eprintln!("quorate: {}", RunError::StandsStill { patience, stuck });
            std::process::exit(HANGS);
        }
    }

    fn stood_still(&self) -> Option<RunError> {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(RunError::StandsStill { patience: self.options.patience, stuck })
    }

    /// What all workers saw together.
    fn together(
        &self,
        start: Instant,
        time: Duration,
        results: impl Iterator<Item = Result<(Tally, Result<(), Halt>), RunError>>,
    ) -> Result<Run, RunError> {
        let mut tally = Tally::default();
        let mut failed = None;
        let mut lanes = Vec::with_capacity(self.history.traces.len());
        for (number, result) in results.enumerate() {
            let (mut one, result) = result?;
            lanes.push(std::mem::take(&mut one.lane));
            tally.add(one);
            match result {
                Ok(()) | Err(Halt::Stopped) => {}
                Err(halt) => failed = failed.or(Some(self.error(number, halt))),
            }
        }
        let timeline = self.timeline(start, lanes);
        failed.map_or(Ok(Run { time, tally, timeline }), Err)
    }

    /// The workers' times, counted from the moment when all were ready.
    fn timeline(&self, start: Instant, mut lanes: Vec<Lane>) -> Timeline {
        let before = start.duration_since(self.epoch).as_nanos() as u64;
        for lane in &mut lanes {
            lane.end = lane.end.saturating_sub(before);
            for wait in &mut lane.waits {
                wait.from = wait.from.saturating_sub(before);
                wait.to = wait.to.saturating_sub(before);
            }
            // A traversal's start is noted when the traversal is over.
            lane.executions.sort_unstable_by_key(|execution| execution.row);
            for execution in &mut lane.executions {
                execution.from = execution.from.saturating_sub(before);
                execution.to = execution.to.saturating_sub(before);
            }
        }
        Timeline { lanes }
    }

    /// Opens a session and runs a trace on it; `ready` is called once in any case.
    fn trace(&self, number: usize, ready: impl FnOnce()) -> (Tally, Result<(), Halt>) {
        let mut guard = StopUnlessDone { turns: &self.turns, at: self.places.of(number), done: false };
        guard.at.enter();
        let session = self.engine.session(&self.history.traces[number]);
        guard.at.works();
        ready();
        let mut session = match session {
            Ok(session) => session,
            Err(error) => return (Tally::default(), Err(Halt::Engine(0, error))),
        };
        let plan = &self.schedule.traces[number];
        let (tally, result) =
            Worker::new(self.history, number, plan, (&self.turns, guard.at), self.options, self.epoch)
                .run(&mut *session);
        drop(session);
        guard.done = result.is_ok();
        (tally, result)
    }

    fn error(&self, number: usize, halt: Halt) -> RunError {
        match halt {
            Halt::Stopped => RunError::Panicked,
            Halt::Engine(row, error) => {
                RunError::Engine { place: self.history.place(number, row as usize), error }
            }
        }
    }
}

/// Compares the database with what the traces leave: every key of theirs, and the number of records.
fn compare_end(
    history: &History,
    schedule: &Schedule,
    engine: &dyn Engine,
    tally: &mut Tally,
) -> Result<(), EngineError> {
    let Some(first) = history.traces.first() else {
        return Ok(());
    };
    let mut session = engine.session(first)?;
    let mut value = Vec::new();
    let mut expected_records = 0;
    for (id, &expected) in (0..).zip(&schedule.last_values) {
        let key = Key::new(id, &history.records.keys);
        let found = session.fetch(key, &mut value)?;
        let wanted = (expected != ABSENT).then(|| history.records.values.bytes(expected));
        expected_records += u64::from(wanted.is_some());
        tally.compared += 1;
        if wanted != found.then_some(value.as_slice()) {
            let key = key.bytes().escape_ascii();
            let text = |value: Option<&[u8]>| match value {
                Some(value) => {
                    format!("key \"{key}\" with {} bytes \"{}\"", value.len(), value.escape_ascii())
                }
                None => format!("no key \"{key}\""),
            };
            let (expected, got) = (text(wanted), text(found.then_some(value.as_slice())));
            tally.mismatch(|| at_end(first, expected, got));
        }
    }
    let records = session.traverse(false, &mut |_, _, _| std::ops::ControlFlow::Continue(()))?;
    tally.compared += 1;
    if records != expected_records {
        tally.mismatch(|| at_end(first, format!("{expected_records} records"), format!("{records} records")));
    }
    Ok(())
}

fn at_end(trace: &Trace, expected: String, got: String) -> Mismatch {
    Mismatch {
        file: trace.path.display().to_string(),
        line: 0,
        expected: format!("at the end {expected}"),
        got,
    }
}

//! A call with a file in it, watched by a thread of its own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ntm_plot::{Line, Mark, Panel, Panels};

use super::meter::Meter;
use super::screen::Screen;
use crate::experiments::call::{Call, Totals};
use crate::net::mobile::Moved;
use crate::run::agent::Agent;

/// Bytes a second of the file, and of what comes back at the same time.
pub(super) const RATE: u32 = 250_000;
const REDRAW: Duration = Duration::from_millis(100);
/// How long the rest of a file may take. Loaded machines are slow.
const PATIENCE: Duration = Duration::from_secs(240);

/// Milliseconds where the plot's scale ends: what was sent without a network comes much later.
const HIGHEST_TRIP: f64 = 120.0;

/// A call that is shown.
pub(super) struct Show<'a> {
    pub(super) caller: &'a Agent,
    pub(super) callee: &'a Agent,
    pub(super) call: Call,
    meter: Mutex<Meter>,
    screen: Mutex<&'a mut Screen>,
    place: Mutex<String>,
    over: AtomicBool,
}

/// Begins a call, has `play` done while it is shown, and waits until the file is there.
pub(super) fn run<T>(
    screen: &mut Screen,
    [caller, callee]: [&mut Agent; 2],
    name: &str,
    size: u64,
    place: &str,
    play: impl FnOnce(&Show<'_>) -> io::Result<T>,
) -> io::Result<(T, Totals, Meter)> {
    let meter = Meter::new(caller, callee, size);
    let call = Call::with_file(caller, callee, name, RATE, size)?;
    let show = Show {
        caller,
        callee,
        call,
        meter: Mutex::new(meter),
        screen: Mutex::new(screen),
        place: Mutex::new(place.to_owned()),
        over: AtomicBool::new(false),
    };
    let played = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !show.over.load(Ordering::Relaxed) {
                show.redraw();
                std::thread::sleep(REDRAW);
            }
        });
        let played = play(&show).and_then(|played| {
            show.call.await_file(show.caller, show.callee, PATIENCE)?;
            Ok(played)
        });
        show.over.store(true, Ordering::Relaxed);
        played
    });
    show.redraw();
    lock(&show.screen).show(Vec::new());
    let Show { call, meter, .. } = show;
    let played = played?;
    let totals = call.end(caller, callee)?;
    let mut meter = meter.into_inner().unwrap_or_else(PoisonError::into_inner);
    meter.look(caller, callee);
    Ok((played, totals, meter))
}

impl Show<'_> {
    pub(super) fn say(&self, text: &str) {
        lock(&self.screen).line(text);
    }

    pub(super) fn move_to(&self, place: &str) {
        *lock(&self.place) = place.to_owned();
    }

    pub(super) fn path(&self) -> String {
        self.meter().path.clone()
    }

    /// The time without a network, for the plot.
    pub(super) fn mark(&self, moved: Moved, label: &str) -> Mark {
        let meter = self.meter();
        Mark { from: meter.seconds(moved.left), to: meter.seconds(moved.first_back), label: label.to_owned() }
    }

    /// Waits until so much of the file has arrived.
    pub(super) fn await_share(&self, share: f64) -> io::Result<()> {
        let until = std::time::Instant::now() + PATIENCE;
        while self.meter().share() < share {
            if std::time::Instant::now() > until {
                return Err(io::Error::other(format!("the file stands still: {}", self.meter().lines("").join(";"))));
            }
            std::thread::sleep(REDRAW);
        }
        Ok(())
    }

    /// What both ends have said up to now is in it.
    fn meter(&self) -> MutexGuard<'_, Meter> {
        let mut meter = lock(&self.meter);
        meter.look(self.caller, self.callee);
        meter
    }

    fn redraw(&self) {
        let lines = self.meter().lines(&lock(&self.place));
        lock(&self.screen).show(lines);
    }
}

/// The file and the voice's round trips over time.
pub(super) fn plot(meter: &Meter, marks: Vec<Mark>) -> String {
    let megabytes = meter.arrived.iter().map(|(at, bytes)| (*at, bytes / 1e6)).collect();
    let panel = |unit: &str, name: &str, highest, points| Panel {
        unit: unit.to_owned(),
        highest,
        lines: vec![Line { name: name.to_owned(), points }],
    };
    let panels = vec![
        panel("MB of the file that arrived", "file", None, megabytes),
        panel("round trip of each datagram of the voice, ms", "voice", Some(HIGHEST_TRIP), meter.trips.clone()),
    ];
    Panels { title: "a call that goes on while its caller moves".to_owned(), x: "s", panels, marks }.svg()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

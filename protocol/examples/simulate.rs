//! Groups of people through whatever a seed brings, many times over.
//!
//! ```text
//! cargo run --release -p protocol --features sim --example simulate -- --seeds 2000
//!     --from S       the first seed (0)          --steps N    steps of each (200)
//!     --seed S       one seed alone              --trace      tell each step and what it checked
//!     --threads T    threads (as many as cores)  --rule NAME  switch a rule off
//!     --all          fail if something that is watched for never happened
//!     --survey       play all seeds, tell each failure in a line at once and how many
//!                    they were at the end; shrink none
//! ```
//!
//! A failure is told with its seed and the fewest steps found that still fail.

use std::{
    collections::BTreeMap,
    env, fmt,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use protocol::sim::{self, Counts, Failure, Invariant, Outcome, Rule, Setup, Step};

/// How often a schedule is tried with fewer steps.
const TRIES: usize = 600;

struct Options {
    from: u64,
    seeds: u64,
    steps: usize,
    threads: usize,
    trace: bool,
    all: bool,
    survey: bool,
    rule: Option<Rule>,
}

/// What a run broke.
#[derive(Clone, PartialEq, Eq)]
enum Broken {
    Invariant(Failure),
    Panic(String),
}

impl Broken {
    fn sort(&self) -> Option<Invariant> {
        match self {
            Self::Invariant(failure) => Some(failure.invariant),
            Self::Panic(_) => None,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invariant(failure) => failure.fmt(f),
            Self::Panic(text) => write!(f, "panic: {text}"),
        }
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("simulate: {problem}; its options are at the top of examples/simulate.rs");
            return ExitCode::from(2);
        }
    };
    if !options.trace {
        panic::set_hook(Box::new(|_| {}));
    }
    let start = Instant::now();
    let (counts, failures) = run_all(&options);
    let seconds = start.elapsed().as_secs_f64();
    tell(&counts);
    let rate = options.seeds as f64 / seconds;
    println!(
        "{} seeds from {} on, {} steps each: {seconds:.1} s, {rate:.1} seeds per second",
        options.seeds, options.from, options.steps
    );
    for (seed, (steps, setup, broken)) in failures.iter().filter(|_| !options.survey) {
        tell_failure(*seed, *setup, steps, broken, &options);
    }
    if options.survey {
        println!("{} failed", failures.len());
    }
    let lacking = counts.lacking();
    if options.all && !lacking.is_empty() {
        println!("FAILED: never happened: {}", lacking.join(", "));
        return ExitCode::FAILURE;
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Failures = BTreeMap<u64, (Vec<Step>, Setup, Broken)>;

fn run_all(options: &Options) -> (Counts, Failures) {
    let next = AtomicU64::new(options.from);
    let end = options.from + options.seeds;
    let found = Mutex::new((Counts::default(), Failures::new()));
    thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let run = run(seed, options);
                    let mut found = found.lock().unwrap_or_else(|it| it.into_inner());
                    found.0.add(&run.counts);
                    if let Some(broken) = run.broken {
                        if options.survey {
                            println!("FAILED: seed {seed}: {broken}");
                        }
                        found.1.insert(seed, (run.steps, run.setup, broken));
                        if found.1.len() >= 10 && !options.survey {
                            next.store(end, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(|it| it.into_inner())
}

struct Run {
    setup: Setup,
    steps: Vec<Step>,
    counts: Counts,
    broken: Option<Broken>,
}

fn run(seed: u64, options: &Options) -> Run {
    let mut steps = Vec::new();
    let drawn = panic::catch_unwind(AssertUnwindSafe(|| {
        sim::draw(seed, options.steps, options.rule, |step| {
            if options.trace {
                println!("{:4} {step:?}", steps.len());
            }
            steps.push(*step);
        })
    }));
    match drawn {
        Ok(Outcome { setup, steps, counts, failure, .. }) => {
            Run { setup, steps, counts, broken: failure.map(Broken::Invariant) }
        }
        Err(payload) => Run {
            setup: sim::setup(seed),
            steps,
            counts: Counts::default(),
            broken: Some(Broken::Panic(said(&*payload))),
        },
    }
}

fn replayed(setup: Setup, steps: &[Step], rule: Option<Rule>) -> Option<Broken> {
    let run = panic::catch_unwind(AssertUnwindSafe(|| sim::replay(setup, steps, rule, |_| {})));
    match run {
        Ok(outcome) => outcome.failure.map(Broken::Invariant),
        Err(payload) => Some(Broken::Panic(said(&*payload))),
    }
}

fn said(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

fn tell(counts: &Counts) {
    println!("checked:");
    for invariant in Invariant::ALL {
        let times = counts.checked.get(&invariant).copied().unwrap_or(0);
        println!("  {:<22} {times:>12}", invariant.to_string());
    }
    println!("happened:");
    for (what, times) in &counts.happened {
        println!("  {what:<22} {times:>12}");
    }
}

fn tell_failure(seed: u64, setup: Setup, steps: &[Step], broken: &Broken, options: &Options) {
    println!("\nFAILED: seed {seed}: {broken}");
    let same = |steps: &[Step]| {
        replayed(setup, steps, options.rule).is_some_and(|found| found.sort() == broken.sort())
    };
    let least = sim::shrink(steps, TRIES, same);
    let found = replayed(setup, &least, options.rule);
    println!("{} of {} steps are enough:", least.len(), steps.len());
    print!("{}", sim::told(setup, &least));
    println!("{}", found.map_or_else(String::new, |it| it.to_string()));
}

fn options() -> Result<Options, String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options {
        from: 0,
        seeds: 100,
        steps: 200,
        threads,
        trace: false,
        all: false,
        survey: false,
        rule: None,
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let next = words.next().ok_or(format!("{word} needs a number"))?;
            next.parse().map_err(|_| format!("{next} is no number"))
        };
        match word.as_str() {
            "--from" => options.from = number()?,
            "--seeds" => options.seeds = number()?,
            "--steps" => options.steps = number()? as usize,
            "--threads" => options.threads = number()?.max(1) as usize,
            "--seed" => (options.from, options.seeds, options.threads) = (number()?, 1, 1),
            "--trace" => options.trace = true,
            "--all" => options.all = true,
            "--survey" => options.survey = true,
            "--rule" => {
                let name = words.next().unwrap_or_default();
                let rule = Rule::ALL.into_iter().find(|rule| format!("{rule:?}") == name);
                options.rule = Some(rule.ok_or(format!("no rule is called {name:?}"))?);
            }
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok(options)
}

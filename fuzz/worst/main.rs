//! Searches for the messages that take the most memory in proportion to their size while they are decoded and
//! rendered: it mutates the worst known recipe of each kind, and keeps a mutant that is worse.
//!
//! `worst SECONDS [SEED]` starts from the recipes in `fuzz/corpus/memory`, and stores the worst of each kind there.

mod grammar;

use std::{
    env,
    error::Error,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use fastrand::Rng;
use nats_matrix_fuzz::memory::{self, Recipe};

use grammar::{Genes, KINDS, Kind};

/// One mutant in this many is made from scratch.
const FRESH: u32 = 5;

/// The memory that a recipe takes.
#[derive(Clone, Copy)]
struct Cost {
    bytes: usize,
    taken: u64,
}

impl Cost {
    fn of(recipe: &Recipe) -> Self {
        let payload = recipe.cook();
        let info = allocation_counter::measure(|| memory::work(&payload));
        Self { bytes: payload.len(), taken: memory::taken(info.bytes_max, info.count_max) }
    }

    /// The memory in proportion to the allowed memory.
    #[expect(clippy::cast_precision_loss, reason = "no message is that large")]
    fn badness(self) -> f64 {
        self.taken as f64 / memory::allowed(self.bytes) as f64
    }

    /// The memory in proportion to the size of the message.
    #[expect(clippy::cast_precision_loss, reason = "no message is that large")]
    fn ratio(self) -> f64 {
        self.taken as f64 / self.bytes.max(1) as f64
    }
}

/// The worst recipe of a kind so far.
struct Worst {
    kind: &'static Kind,
    recipe: Recipe,
    cost: Cost,
    /// The genes; `None` for a recipe that was stored before.
    genes: Option<Genes>,
}

impl Worst {
    /// Starts with the stored recipe of a kind, or a random one.
    fn of(kind: &'static Kind, rng: &mut Rng) -> Self {
        let kept = fs::read(file(kind)).ok().map(|bytes| Recipe::read(&bytes));
        let genes = kept.is_none().then(|| Genes::random(kind, rng));
        let made = genes.as_ref().map(|genes| genes.recipe(kind));
        let recipe = kept.or(made).expect("it is kept or made");
        Self { kind, cost: Cost::of(&recipe), recipe, genes }
    }

    /// Tries a mutant, and keeps it if it is worse.
    fn try_mutant(&mut self, rng: &mut Rng) {
        let known = self.genes.as_ref().filter(|_| rng.u32(..FRESH) > 0);
        let genes = match known {
            Some(genes) => genes.mutated(self.kind, rng),
            None => Genes::random(self.kind, rng).mutated(self.kind, rng),
        };
        let recipe = genes.recipe(self.kind);
        let cost = Cost::of(&recipe);
        if cost.badness() > self.cost.badness() {
            (self.recipe, self.cost, self.genes) = (recipe, cost, Some(genes));
            println!("{self}");
        }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, recipe, cost, .. } = self;
        let (ratio, badness) = (cost.ratio(), cost.badness());
        let unit: String = recipe.unit.chars().take(60).collect();
        let (name, bytes, taken) = (kind.name, cost.bytes, cost.taken);
        write!(
            f,
            "{name:20} {bytes:8} bytes take {taken:10} ({ratio:6.2}), {badness:6.2} of what is allowed: {unit}"
        )
    }
}

fn file(kind: &Kind) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/memory")).join(kind.name)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let seconds = arguments.next().ok_or("worst SECONDS [SEED]")?.parse()?;
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let (mut rng, end) = (Rng::with_seed(seed), Instant::now() + Duration::from_secs(seconds));
    memory::prepare();
    let mut all: Vec<Worst> = KINDS.iter().map(|kind| Worst::of(kind, &mut rng)).collect();
    let mut tried = 0;
    'search: loop {
        for worst in &mut all {
            if Instant::now() > end {
                break 'search;
            }
            worst.try_mutant(&mut rng);
            tried += 1;
        }
    }
    println!("\n{tried} mutants with seed {seed}; the worst:");
    all.sort_by(|a, b| b.cost.badness().total_cmp(&a.cost.badness()));
    for worst in &all {
        println!("{worst}");
        fs::write(file(worst.kind), worst.recipe.written())?;
    }
    Ok(())
}

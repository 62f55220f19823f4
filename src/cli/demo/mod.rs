//! `idp demo`: the main job on embedded parts, from nothing, in one command: a sandbox cluster, a real Git repository on disk, a
//! registry, a broker, and the same daemon code as `idpd`.

mod repository;
mod story;
mod summary;
mod tell;
mod witness;
mod world;

use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use self::story::{CHAPTERS, Chapter, DECLARATION};
use self::summary::{Ended, Summary};
use self::tell::Teller;
use self::witness::Witness;
use self::world::{DemoError, IMAGE, RELEASE, World, part};
use super::{Exit, Output};
use crate::model::record::Record;
use crate::model::rollout::Outcome;

/// The longest that one chapter may take, on a machine that is busy with other things too.
const CHAPTER: Duration = Duration::from_mins(3);
/// How long a commit that must start nothing is watched.
const QUIET: Duration = Duration::from_millis(1500);

/// Options of the demo.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave everything running at the end and print the addresses; Ctrl-C ends it
    #[arg(long)]
    pub keep: bool,
}

/// Tells the story. [`Exit::Good`] only if everything went as told.
pub async fn run(args: &DemoArgs, output: &Output) -> Exit {
    let teller = Teller::new(*output);
    match tell(args, output, &teller).await {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {}", crate::reconcile::error::chain(&error));
            Exit::Bad
        }
    }
}

async fn tell(args: &DemoArgs, output: &Output, teller: &Teller) -> Result<Exit, DemoError> {
    let begun = Instant::now();
    teller.opening();
    let mut world = World::start().await?;
    let witness = Witness::default();
    let line = teller.clone();
    let mut records = Witness::follow(world.sandbox.client(), move |told| line.line(told));
    witness.watch_deployments(world.sandbox.client());
    let mut ended = Vec::new();
    for (index, chapter) in CHAPTERS.iter().enumerate() {
        if index == 1 {
            world.let_load_flow();
        }
        ended.extend(chapter_of(&mut world, &witness, teller, &mut records, chapter).await?);
    }
    let last = ended.last().map_or(0, |ended: &Ended| ended.number);
    let finished = witness.consume(&world.consumer, |notes| summary::all_events_came(notes, last));
    timeout(CHAPTER, finished)
        .await
        .map_err(|_| DemoError::Story("the events did not all come back from the broker".to_owned()))?;
    let record = records.borrow().clone();
    let summary = witness.notes(|notes| Summary::new(&ended, notes, record.as_ref(), begun.elapsed()));
    output
        .show(&summary, |output| summary.text(output.width, output.colour))
        .map_err(part("printing the summary"))?;
    if args.keep {
        teller.addresses(&world)?;
        let _ = tokio::signal::ctrl_c().await;
    }
    world.stop().await;
    Ok(if summary.as_told() { Exit::Good } else { Exit::Bad })
}

/// Merges one commit and waits for what becomes of it.
async fn chapter_of(
    world: &mut World,
    witness: &Witness,
    teller: &Teller,
    records: &mut watch::Receiver<Option<Record>>,
    chapter: &Chapter,
) -> Result<Option<Ended>, DemoError> {
    let before = records.borrow().as_ref().map_or(0, |record| record.rollouts);
    let files = [(chapter.path, chapter.content.to_owned()), (".idp/deploy.yaml", DECLARATION.to_owned())];
    let commit =
        world.repository.write(chapter.message, &files, super::now()).map_err(part("writing a commit"))?;
    teller.chapter(chapter, &commit);
    if chapter.image_after == 0 {
        world.sandbox.registry().push_as(IMAGE, &commit, chapter.behaviour);
    }
    let merged = Instant::now();
    world.repository.merge().map_err(part("moving the branch"))?;
    if chapter.image_after > 0 {
        tokio::time::sleep(Duration::from_millis(chapter.image_after)).await;
        world.sandbox.registry().push_as(IMAGE, &commit, chapter.behaviour);
    }
    let Some(wanted) = chapter.outcome else {
        return nothing_rolls(teller, records, before).await.map(|()| None);
    };
    let number = before + 1;
    let ends =
        records.wait_for(|record| record.as_ref().is_some_and(|record| record.history.contains_key(&number)));
    let record = timeout(CHAPTER, ends)
        .await
        .map_err(|_| {
            DemoError::Story(format!("rollout {number} did not end within {} s", CHAPTER.as_secs()))
        })?
        .map_err(part("following the release"))?
        .clone();
    let Some(summary) = record.as_ref().and_then(|record| record.history.get(&number)) else {
        return Ok(None);
    };
    let applied = witness.notes(|notes| notes.written.get(&number).map(|at| at.duration_since(merged)));
    teller.verdict(summary.outcome == wanted, summary);
    Ok(Some(Ended {
        number,
        release: RELEASE,
        wanted,
        outcome: summary.outcome,
        verdict: summary.verdict.clone(),
        steps: summary.steps,
        seconds: summary::round(merged.elapsed().as_secs_f64()),
        late_image: chapter.image_after > 0,
        push_to_applied: applied,
    }))
}

/// A commit that must start nothing: watched for a while.
async fn nothing_rolls(
    teller: &Teller,
    records: &mut watch::Receiver<Option<Record>>,
    before: u64,
) -> Result<(), DemoError> {
    let started = records.wait_for(|record| record.as_ref().is_some_and(|record| record.rollouts > before));
    if timeout(QUIET, started).await.is_ok() {
        return Err(DemoError::Story("a rollout started although nothing new was merged".to_owned()));
    }
    let record = records.borrow();
    teller.quiet(record.as_ref().map_or("", |record| record.message.as_str()));
    Ok(())
}

/// Tells whether an outcome is one that ends well.
fn is_good(outcome: Outcome) -> bool {
    outcome == Outcome::Promoted
}

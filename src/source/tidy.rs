//! Many small packs become one, without the wire: what the heads reach is copied, deltas as they are, into a new pack beside the
//! others, and only when that is there they go.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::parallel::InOrderIter;
use gix::progress::Discard;
use gix::{ObjectId, Repository};
use gix_pack::data::output::{bytes::FromEntriesIter, count, entry};
use gix_pack::{Bundle, bundle};

use super::error::Cause;

/// Returns the packs of a mirror.
pub(super) fn packs(mirror: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(mirror.join("objects/pack")).into_iter().flatten().flatten();
    let files = files.map(|file| file.path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "pack")).collect()
}

/// Puts everything that the heads of a mirror reach into one pack and deletes the others. Whatever fails leaves them as they are.
pub(super) fn tidy(repo: &Repository, interrupt: &AtomicBool) -> Result<(), Cause> {
    let old = packs(repo.path());
    let folder = repo.path().join("objects/pack");
    let mut copy = tempfile::tempfile_in(&folder)?;
    let kept = reached(repo)?;
    write(repo, kept.clone(), &mut copy, interrupt)?;
    copy.rewind()?;
    let options = bundle::write::Options { thread_limit: Some(1), ..Default::default() };
    let none: Option<gix::OdbHandle> = None;
    let hash = repo.object_hash();
    let made = Bundle::write_to_directory(
        &mut BufReader::new(copy),
        Some(&folder),
        &mut Discard,
        interrupt,
        none,
        hash,
        options,
    )?;
    let new = made.data_path.ok_or("the new pack was not kept")?;
    forget(repo, &kept)?;
    for pack in old.iter().filter(|pack| **pack != new) {
        // The index first: a pack without one is nobody's, and deleted at start.
        fs::remove_file(pack.with_extension("idx"))?;
        fs::remove_file(pack)?;
    }
    if let Some(keep) = made.keep_path {
        fs::remove_file(keep)?;
    }
    Ok(())
}

/// Returns what the refs name, and the commits that they reach, as far as the history is here.
fn reached(repo: &Repository) -> Result<Vec<ObjectId>, Cause> {
    let (mut named, mut heads) = (Vec::new(), Vec::new());
    for reference in repo.references()?.all()? {
        let Some(id) = reference?.try_id() else { continue };
        heads.push(id.object()?.peel_to_commit()?.id);
        named.push(id.detach());
    }
    for commit in repo.rev_walk(heads).all()? {
        named.push(commit?.id);
    }
    Ok(named)
}

/// Takes out of the list of commits without their parents those that are not kept: a server would leave out what it thinks is here.
fn forget(repo: &Repository, kept: &[ObjectId]) -> Result<(), Cause> {
    let Some(shallow) = repo.shallow_commits()? else { return Ok(()) };
    let kept: HashSet<&ObjectId> = kept.iter().collect();
    let mut file = tempfile::NamedTempFile::new_in(repo.path())?;
    for commit in shallow.iter().filter(|commit| kept.contains(commit)) {
        writeln!(file, "{commit}")?;
    }
    file.persist(repo.shallow_file()?)?;
    Ok(())
}

fn write(
    repo: &Repository,
    reached: Vec<ObjectId>,
    to: &mut File,
    interrupt: &AtomicBool,
) -> Result<(), Cause> {
    let mut store = repo.objects.clone().into_inner().into_arc()?;
    store.prevent_pack_unload();
    let mut ids = reached.into_iter().map(Ok);
    let contents = count::objects::ObjectExpansion::TreeContents;
    let (counts, _) = count::objects_unthreaded(&store, &mut ids, &Discard, interrupt, contents)?;
    let number = u32::try_from(counts.len())?;
    let options = entry::iter_from_counts::Options { thread_limit: Some(1), ..Default::default() };
    let (version, hash) = (options.version, repo.object_hash());
    let entries = entry::iter_from_counts(counts, store, Box::new(Discard), options)?;
    let mut writer = BufWriter::new(to);
    for written in FromEntriesIter::new(InOrderIter::from(entries), &mut writer, number, version, hash) {
        written?;
    }
    writer.flush()?;
    Ok(())
}

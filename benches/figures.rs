//! The figures of `docs/benchmarks.md`: `cargo bench`. Each is printed beside its goal and beside something that was measured in the
//! same run, since a machine's speed is nobody's merit. `cargo bench -- push` takes the figures whose name contains the word.

#[path = "figures/bed.rs"]
mod bed;
#[path = "figures/cpu.rs"]
mod cpu;
#[path = "figures/hooks.rs"]
mod hooks;
#[path = "figures/reaction.rs"]
mod reaction;
#[path = "figures/repository.rs"]
mod repository;
#[path = "figures/table.rs"]
mod table;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to see it start.
    if words.iter().any(|word| word == "--test") {
        return Ok(());
    }
    let wanted = |name: &str| {
        let mut chosen = words.iter().filter(|word| !word.starts_with('-')).peekable();
        chosen.peek().is_none() || chosen.any(|word| name.contains(word.as_str()))
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores, load average before: {}", load.trim());
    if wanted("push") {
        reaction::pushes().await?;
    }
    if wanted("crash") {
        reaction::crashes().await?;
    }
    if wanted("pass") {
        cpu::costs().await?;
    }
    if wanted("hooks") {
        hooks::received()?;
    }
    Ok(())
}

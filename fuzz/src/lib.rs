//! What the programs share.

use std::path::Path;

/// Writes what a target begins with to `corpus/TARGET`; a fault ends the program.
pub fn sow(target: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("make the corpus' folder");
    let targets = idp::fuzzing::targets();
    let target = targets.iter().find(|one| one.name == target).expect("a target of this name");
    for (number, seed) in target.seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).expect("write a seed");
    }
}

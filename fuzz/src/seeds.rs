//! Writes what each target begins with to `corpus/TARGET`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    for target in idp::fuzzing::targets() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in target.seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

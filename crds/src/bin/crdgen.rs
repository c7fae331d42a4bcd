//! Writes the CRD manifests of the chart. Run from the repository's root.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(crds::manifest::FOLDER);
    fs::create_dir_all(folder)?;
    for (name, content) in crds::manifest::files(crds::all())? {
        fs::write(folder.join(&name), content)?;
        eprintln!("wrote {}", folder.join(name).display());
    }
    Ok(())
}

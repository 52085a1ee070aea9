//! Puts the built dashboard where the program embeds it from. A build without Node carries a page that says how to get one.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Served when nobody has built the dashboard.
const WITHOUT: &str = "<!doctype html><html lang=\"en\"><title>SaveOS</title><h1>This build has no dashboard</h1>\
    <p>The API works. Build the dashboard with <code>cargo xtask dashboard</code> and this program again.</p></html>\n";

fn main() -> io::Result<()> {
    let built = Path::new("../dashboard/dist");
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo says where"))?);
    let folder = folder.join("dashboard");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../dashboard/dist");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    if built.join("index.html").exists() {
        return copy(built, &folder);
    }
    // Cargo looks again when a file of this name appears.
    io::Write::write_all(&mut fs::File::create(folder.join("index.html"))?, WITHOUT.as_bytes())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

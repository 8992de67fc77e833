//! Compiles csrc/ against the libtorch that `LIBTORCH` names and links it. The same variable steers torch-sys, so both halves always
//! see one libtorch.

use std::path::{Path, PathBuf};

const SOURCES: [&str; 4] = ["status.cpp", "group.cpp", "autograd.cpp", "optim.cpp"];
const HEADER_THAT_MUST_EXIST: &str = "include/torch/csrc/distributed/c10d/ProcessGroupGloo.hpp";

fn main() {
    println!("cargo::rerun-if-changed=csrc");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    match libtorch() {
        Ok(root) => build(&root),
        Err(reason) => println!("cargo::error={reason}"),
    }
}

fn libtorch() -> Result<PathBuf, String> {
    let root = std::env::var_os("LIBTORCH")
        .map(PathBuf::from)
        .ok_or("LIBTORCH is not set: point it at an unpacked libtorch 2.11.0, a folder with include/ and lib/ (`make` does this)")?;
    if !root.join(HEADER_THAT_MUST_EXIST).is_file() {
        return Err(format!("LIBTORCH={} has no {HEADER_THAT_MUST_EXIST}: this is not a libtorch 2.11.0 with its headers", root.display()));
    }
    Ok(root)
}

fn build(root: &Path) {
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .pic(true)
        .opt_level(2)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_GLOO", None)
        .define("AT_PER_OPERATOR_HEADERS", None)
        .include("csrc")
        .include("csrc/include")
        // libtorch's own headers are not ours to lint.
        .flag("-isystem")
        .flag(root.join("include").to_string_lossy().as_ref())
        .flag("-isystem")
        .flag(root.join("include/torch/csrc/api/include").to_string_lossy().as_ref())
        .flag_if_supported("-fvisibility=hidden")
        .flag_if_supported("-Wno-unused-parameter")
        .files(SOURCES.map(|name| format!("csrc/{name}")))
        .compile("osler_dist");
    println!("cargo::rustc-link-search=native={}", root.join("lib").display());
    println!("cargo::rustc-link-lib=dylib=torch_cpu");
    println!("cargo::rustc-link-lib=dylib=c10");
}

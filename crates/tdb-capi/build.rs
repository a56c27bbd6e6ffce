//! Gives the library its soname and the symbol versions of libtdb.
//!
//! A name in `libtdb.map` that the crate does not define fails the link: rustc passes `--no-undefined-version`.

fn main() {
    let folder =
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    println!("cargo:rerun-if-changed=libtdb.map");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtdb.so.1");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--version-script={folder}/libtdb.map");
}

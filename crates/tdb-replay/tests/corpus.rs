//! The fuzz targets' bodies on their corpus, and on the corpus with single bytes changed.

/// R2: whatever the bytes, they are refused or read, and what was read can be counted, cut, printed and ordered.
#[test]
fn the_corpus_and_its_neighbours_are_read_or_refused() {
    let folder = testbed::repository().join("fuzz/seeds/trace");
    let mut random = fastrand::Rng::with_seed(testbed::seed("corpus"));
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the seeds are in the repository") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file of the corpus");
        tdb_replay::fuzz::trace(&bytes);
        tdb_replay::fuzz::order(&bytes);
        files += 1;
        for _ in 0..300 {
            let mut changed = bytes.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..changed.len().max(1));
                if at >= changed.len() {
                    break;
                }
                match random.u8(..4) {
                    0 => changed[at] = random.u8(..),
                    1 => changed[at] = *b"0123456789abcdef =\n-".get(random.usize(..20)).unwrap_or(&b'0'),
                    2 => drop(changed.remove(at)),
                    _ => changed.truncate(at.max(1)),
                }
            }
            tdb_replay::fuzz::trace(&changed);
            tdb_replay::fuzz::order(&changed);
        }
    }
    assert!(files >= 6, "only {files} files in the corpus");
}

/// R2: the same for bytes that are said to be records of a packed trace: random ones, most of them small.
#[test]
fn bytes_of_a_packed_trace_are_read_or_refused() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("packed"));
    for length in 0..400 {
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..) >> random.u8(..8)).collect();
        tdb_replay::fuzz::packed(&bytes);
    }
}

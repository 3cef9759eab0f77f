//! Every cell of the matrix has its case, and every case its cell: none is forgotten, none is held twice.

use std::collections::BTreeSet;
use std::process::Command;

use harness::cell::Cell;
use harness::matrix;

/// The name of a cell's case without the number that rstest gives it.
fn case(cell: &Cell) -> (String, String) {
    (cell.case_path(), cell.case_place())
}

#[test]
fn cells_and_cases_are_the_same() {
    let listed = Command::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let checks: BTreeSet<_> = matrix::cells().iter().map(|cell| case(cell).0).collect();
    let cases: Vec<_> = names
        .filter_map(|name| name.split_once("::case_"))
        .filter(|(path, _)| checks.contains(*path))
        .filter_map(|(path, case)| Some((path.to_owned(), case.split_once('_')?.1.to_owned())))
        .collect();
    let mut cells: Vec<_> = matrix::cells().iter().map(case).collect();
    let mut unique = cases.clone();
    cells.sort();
    unique.sort();
    assert_eq!(unique, cells);
}

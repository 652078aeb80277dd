//! The table of nodes without a kernel: counts, names, holds.

use super::*;

const ROOT: InodeId = InodeId { ino: 2, btime: 1 };

fn id(ino: u64) -> InodeId {
    InodeId { ino, btime: 10 }
}

fn stat(ino: u64, btime: u64) -> Stat {
    let mut stat = Stat::of(std::fs::File::open("/").expect("root")).expect("stat");
    stat.ino = ino;
    stat.btime = btime;
    stat
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

#[test]
fn counts_lookups_exactly() {
    let nodes = Nodes::new(ROOT);
    nodes.looked_up(2, name("a"), &stat(5, 10));
    nodes.looked_up(2, name("a"), &stat(5, 10));
    nodes.forget(5, 1);
    assert_eq!(nodes.path(5).as_deref(), Some(b"a".as_slice()));
    nodes.forget(5, 1);
    assert!(!nodes.known(5));
    assert_eq!(nodes.len(), 1);
}

#[test]
fn keeps_a_directory_while_a_child_is_known() {
    let nodes = Nodes::new(ROOT);
    nodes.looked_up(2, name("d"), &stat(5, 10));
    nodes.looked_up(5, name("f"), &stat(6, 10));
    nodes.forget(5, 1);
    assert_eq!(nodes.path(6).as_deref(), Some(b"d/f".as_slice()));
    nodes.forget(6, 1);
    assert_eq!(nodes.len(), 1);
}

#[test]
fn renames_whole_subtrees_at_once() {
    let nodes = Nodes::new(ROOT);
    nodes.looked_up(2, name("d"), &stat(5, 10));
    nodes.looked_up(5, name("f"), &stat(6, 10));
    nodes.moved(5, (2, name("d")), (2, name("e")));
    assert_eq!(nodes.path(6).as_deref(), Some(b"e/f".as_slice()));
    assert_eq!(nodes.path(2).as_deref(), Some(b"".as_slice()));
}

#[test]
fn knows_all_names_of_a_hard_linked_file() {
    let nodes = Nodes::new(ROOT);
    nodes.looked_up(2, name("a"), &stat(5, 10));
    nodes.add_name(2, name("b"), id(5));
    assert!(!nodes.is_last_name(5, 2, name("a")));
    nodes.remove_name(5, 2, name("a"));
    assert!(nodes.is_last_name(5, 2, name("b")));
    assert_eq!(nodes.path(5).as_deref(), Some(b"b".as_slice()));
    nodes.remove_name(5, 2, name("b"));
    assert_eq!(nodes.path(5), None);
    assert!(nodes.known(5), "the kernel still knows it");
}

#[test]
fn takes_a_reused_inode_number_for_another_inode() {
    let nodes = Nodes::new(ROOT);
    nodes.looked_up(2, name("a"), &stat(5, 10));
    nodes.set_stage(5, Stage::Complete);
    nodes.looked_up(2, name("b"), &stat(5, 11));
    assert!(matches!(nodes.stage(5), Stage::Unknown));
    assert_eq!(nodes.names(5), vec![(2, name("b").to_owned())]);
    nodes.forget(5, 2);
    assert_eq!(nodes.len(), 1);
}

#[test]
fn holds_nodes_for_marks_of_ours() {
    let nodes = Nodes::new(ROOT);
    nodes.hold_at(2, name("d"), id(5));
    nodes.hold_at(5, name("f"), id(6));
    nodes.release(5);
    assert!(nodes.known(5), "its child is held");
    nodes.release(6);
    assert_eq!(nodes.len(), 1);
}

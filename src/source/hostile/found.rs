//! What the corpus and its making found, each by itself: these were faults once.

use gix::objs::Kind;

use super::maker::{Entry, Maker, PEOPLE, commit_bytes, deflated, nowhere};
use super::{Machine, case};
use crate::model::desired::SourceProblem;
use crate::source::SourceReport;

fn met(make: impl Fn(&Maker, gix::ObjectId) + 'static) -> SourceReport {
    Machine::new().meets(case("found", make))
}

fn said(report: &SourceReport) -> String {
    let line = |problem: &SourceProblem| format!("{:?}: {}", problem.path, problem.message);
    report.heads.problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The look never ended.
#[test]
fn a_tag_that_names_itself_leads_nowhere() {
    let report = met(|maker, _| {
        let id = nowhere(1);
        maker.object_at(id, Kind::Tag, format!("object {id}\ntype tag\ntag x\n\n").as_bytes());
        maker.set_main(id);
    });
    assert!(!report.up && said(&report).contains("does not lead to a commit"), "{}", said(&report));
}

/// What was left out was read, and not counted.
#[test]
fn entries_whose_names_are_none_count() {
    let report = met(|maker, first| {
        let file = maker.blob(b"x");
        let junk: Vec<Entry<'_>> = vec![(b"100644".as_slice(), b"\xff".as_slice(), file); 1_000];
        let junk = maker.tree(&junk);
        let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let folders: Vec<Entry<'_>> =
            names.iter().map(|name| (b"40000".as_slice(), name.as_bytes(), junk)).collect();
        let root = maker.root(&[(b"40000", b"src", maker.tree(&folders))]);
        maker.set_main(maker.commit(root, &[first]));
    });
    assert!(report.up && report.stats.entries > 100_000, "{} entries", report.stats.entries);
}

/// Each of so many files was told the names of all.
#[test]
fn a_service_that_many_files_declare_is_told_in_few_words() {
    let report = met(|maker, first| {
        let service = maker.tree(&[(b"40000", b".idp", maker.declared(b"service: same\n"))]);
        let names: Vec<String> = (0..500).map(|number| format!("{number:03}")).collect();
        let folders: Vec<Entry<'_>> =
            names.iter().map(|name| (b"40000".as_slice(), name.as_bytes(), service)).collect();
        let root = maker.root(&[(b"40000", b"services", maker.tree(&folders))]);
        maker.set_main(maker.commit(root, &[first]));
    });
    assert_eq!(report.heads.problems.len(), 500);
    assert!(report.heads.problems.iter().all(|problem| problem.message.len() < 300), "{}", said(&report));
    assert!(said(&report).contains("and 497 more"));
}

/// Every file was parsed, however many.
#[test]
fn more_declarations_than_anybody_has_are_refused_as_one() {
    let report = met(|maker, first| {
        let service = maker.tree(&[(b"40000", b".idp", maker.declared(b"nonsense\n"))]);
        let names: Vec<String> = (0..20_001).map(|number| format!("{number:05}")).collect();
        let folders: Vec<Entry<'_>> =
            names.iter().map(|name| (b"40000".as_slice(), name.as_bytes(), service)).collect();
        let root = maker.root(&[(b"40000", b"services", maker.tree(&folders))]);
        maker.set_main(maker.commit(root, &[first]));
    });
    assert!(!report.up && said(&report).contains("20002 declaration files"), "{}", said(&report));
}

/// It stood in problems and in log lines as it was.
#[test]
fn a_path_that_a_terminal_would_obey_is_refused_and_written_out() {
    for (name, shown) in [("a\u{1b}[2J", "\\u{1b}[2J"), ("a\nb", "\\u{a}b"), ("\u{202e}a", "\\u{202e}a")] {
        let report = met(move |maker, first| {
            let service = maker.tree(&[(b"40000", b".idp", maker.declared(b"service: b\n"))]);
            let services = maker.tree(&[(b"40000", name.as_bytes(), service)]);
            maker.set_main(maker.commit(maker.root(&[(b"40000", b"services", services)]), &[first]));
        });
        let problem = &report.heads.problems[0];
        assert!(problem.path.as_ref().unwrap().contains(shown), "{problem:?}");
        assert!(problem.message.contains("rename it"), "{problem:?}");
        assert_eq!(report.heads.releases.len(), 1, "it is not deployed: {:?}", report.heads.releases.keys());
    }
}

/// The whole source failed for it.
#[test]
fn a_date_that_is_none_does_not_stop_a_deploy() {
    for tail in [
        b"author A <a@b> soon +0000\ncommitter A <a@b> soon +0000\n\ns\n".as_slice(),
        b"author A\ncommitter A <a@b> 99999999999999999999999 +9999\n\ns\n",
    ] {
        let report = met(move |maker, first| {
            let root = maker.root(&[(b"100644", b"z", maker.blob(b"z"))]);
            maker.set_main(maker.object(Kind::Commit, &commit_bytes(root, &[first], tail)));
        });
        assert!(report.up && report.heads.problems.is_empty(), "{}", said(&report));
    }
}

/// It was read whole, at each of the places that read a commit.
#[test]
fn a_commit_of_megabytes_is_refused_by_its_header() {
    let large = met(|maker, first| {
        let text = [PEOPLE, &vec![b'x'; 3 << 20]].concat();
        maker.set_main(maker.object(Kind::Commit, &commit_bytes(maker.root(&[]), &[first], &text)));
    });
    assert!(!large.up && said(&large).contains("at most 1048576 bytes are read"), "{}", said(&large));
    let claimed = met(|maker, _| {
        maker.loose(nowhere(1), &deflated(b"commit 10737418240\0tree "));
        maker.set_main(nowhere(1));
    });
    assert!(!claimed.up && said(&claimed).contains("10737418240 bytes"), "{}", said(&claimed));
}

/// Names of megabytes, sixty-four folders deep, were joined to paths at each level.
#[test]
fn a_name_longer_than_any_file_system_has_is_nobodys() {
    let report = met(|maker, first| {
        let mut inner = maker.root(&[]);
        for _ in 0..64 {
            inner = maker.tree(&[(b"40000", &vec![b'n'; 100_000], inner)]);
        }
        maker.set_main(maker.commit(maker.root(&[(b"40000", b"src", inner)]), &[first]));
    });
    assert!(report.up && report.stats.entries < 100, "{}: {}", report.stats.entries, said(&report));
}

/// A file that a reader takes and another that is rolled out could be two.
#[test]
fn of_two_entries_of_one_name_the_first_counts() {
    let report = met(|maker, first| {
        let (one, two) = (maker.blob(b"service: a\n"), maker.blob(b"service: b\n"));
        let idp = maker.tree(&[(b"100644", b"deploy.yaml", one), (b"100644", b"deploy.yaml", two)]);
        maker.set_main(maker.commit(maker.root(&[(b"40000", b".idp", idp)]), &[first]));
    });
    assert!(report.up && report.heads.problems.is_empty(), "{}", said(&report));
}

use rstest::rstest;

use super::*;
use crate::candidate::Trigger;
use crate::candidate::tariff::Calls;
use crate::cell::{DeliveryId, Place, PlatformId};
use crate::evidence::{Record, SCHEMA, TriggerUse};
use crate::run::Owner;
use crate::tools::{Bao, Product, Tools};
use crate::verdict::Grade;
use crate::verdict::Judgement;

fn cell(check: &str, candidate: CandidateId, delivery: DeliveryId) -> Cell {
    Cell::new(check, Place::new(candidate, PlatformId::Process, delivery))
}

fn evidence(cell: Cell, grade: Grade, judgement: Judgement) -> Evidence {
    Evidence {
        schema: SCHEMA,
        run: "20261123-190000-abcd".into(),
        sentence: "…".into(),
        grade,
        judgement,
        sla_ms: 10_000,
        patience_ms: 30_000,
        started: Timestamp::UNIX_EPOCH,
        took_ms: 1500.0,
        latency: cell.check.starts_with("rotation.propagates").then_some(Summary {
            n: 10,
            min_ms: 4.2,
            median_ms: 5.25,
            max_ms: 9.75,
        }),
        record: Record {
            versions: BTreeMap::from([("OpenBao".into(), "2.7.2".into())]),
            unavoidable_ms: 1000.0,
            trigger: trigger(cell.place),
            exposed: match cell.place.delivery {
                DeliveryId::Redeploy => vec!["docker inspect app.probe: Config.Env".into()],
                _ => Vec::new(),
            },
            ..Record::default()
        },
        cell,
    }
}

fn trigger(place: Place) -> Option<TriggerUse> {
    let (trigger, calls) = match (place.candidate, place.delivery) {
        (CandidateId::Vault, DeliveryId::Reload) => (Trigger::AuditPush, Calls { per_hour: 120.0, per_rotation: 1 }),
        (CandidateId::Doppler, _) => (Trigger::WatchStream, Calls { per_hour: 120.0, per_rotation: 1 }),
        (CandidateId::Aws, _) => (Trigger::VersionPoll, Calls { per_hour: 3600.0, per_rotation: 2 }),
        _ => return None,
    };
    Some(TriggerUse { trigger, calls })
}

fn run(cells: Vec<Cell>) -> Run {
    let bao = Bao { path: "/bao".into(), product: Product::OpenBao, version: "2.7.2".into() };
    Run {
        id: "20261123-190000-abcd".into(),
        folder: "/target/conformance/20261123-190000-abcd".into(),
        started: Timestamp::UNIX_EPOCH,
        owner: Owner { pid: 1, ticks: 1 },
        tools: Tools { conformance: "/c".into(), probe: "/p".into(), sidecar: "/s".into(), standin: "/t".into(), bao },
        target_file: None,
        cells,
    }
}

fn sample() -> Scorecard {
    use CandidateId::{Aws, Doppler, Vault};
    use DeliveryId::{NativeExec, Redeploy, Reload, Restart};

    let held = vec![
        evidence(cell("provision.end-to-end", Vault, Reload), Grade::SelfHosted, Judgement::pass("22 API calls")),
        evidence(cell("provision.end-to-end", Doppler, Reload), Grade::StandIn, Judgement::pass("9 API calls")),
        evidence(cell("provision.end-to-end", Aws, Reload), Grade::StandIn, Judgement::pass("5 API calls")),
        evidence(cell("rotation.propagates", Vault, Reload), Grade::SelfHosted, Judgement::pass("10 arrived")),
        evidence(
            cell("rotation.propagates", Vault, NativeExec),
            Grade::SelfHosted,
            Judgement::fail("version 3 took 12000 ms"),
        ),
        evidence(cell("rotation.redeploy-only", Vault, Redeploy), Grade::SelfHosted, Judgement::pass("it stayed away")),
        evidence(cell("audit.reads-recorded", Vault, Reload), Grade::SelfHosted, Judgement::pass("entry 7 | shows it")),
        evidence(
            cell("audit.reads-recorded", Doppler, Reload),
            Grade::StandIn,
            Judgement::not_supported("no read log by API"),
        ),
        evidence(cell("scope.isolated", Vault, Reload), Grade::SelfHosted, Judgement::error("failed to start")),
    ];
    let mut cells: Vec<_> = held.iter().map(|evidence| evidence.cell.clone()).collect();
    cells.push(cell("rotation.no-downtime", Vault, Restart));
    Scorecard::judge(&run(cells), &held, false)
}

#[test]
fn the_scorecard_in_a_terminal() {
    insta::assert_snapshot!(anstream::adapter::strip_str(&terminal(&sample())).to_string());
}

#[test]
fn the_scorecard_in_markdown() {
    insta::assert_snapshot!(markdown(&sample()));
}

#[test]
fn the_scorecard_in_json_reads_back() {
    let scorecard = sample();
    let json = serde_json::to_string(&scorecard).unwrap();
    assert_eq!(serde_json::from_str::<Scorecard>(&json).unwrap(), scorecard);
}

/// What is missing is said once, whatever number of cells would have taken it; `not-run` for want of evidence stays a cell's.
#[test]
fn what_is_not_there_is_said_once_for_each_delivery() {
    let in_cluster =
        |check: &str, candidate, delivery| Cell::new(check, Place::new(candidate, PlatformId::Kubernetes, delivery));
    let absent = |check, candidate, delivery, reason: &str| {
        evidence(in_cluster(check, candidate, delivery), Grade::StandIn, Judgement::not_run(reason))
    };
    let eso = "the External Secrets Operator is not in the cluster";
    let held = [
        absent(PROPAGATES, CandidateId::Vault, DeliveryId::NativeEso, eso),
        absent("rotation.burst", CandidateId::Vault, DeliveryId::NativeEso, eso),
        absent(PROPAGATES, CandidateId::Aws, DeliveryId::NativeEso, eso),
        absent(
            PROPAGATES,
            CandidateId::Doppler,
            DeliveryId::NativeOperator,
            "the Doppler operator is not in the cluster",
        ),
        evidence(
            in_cluster(PROPAGATES, CandidateId::Vault, DeliveryId::Reload),
            Grade::SelfHosted,
            Judgement::pass("10 arrived"),
        ),
    ];
    let mut cells: Vec<_> = held.iter().map(|evidence| evidence.cell.clone()).collect();
    cells.push(in_cluster("rotation.burst", CandidateId::Vault, DeliveryId::Reload));
    let scorecard = Scorecard::judge(&run(cells), &held, false);
    insta::assert_snapshot!(absent_in_words(&scorecard).join("\n"), @r"
    native-eso on kubernetes, 3 cells of vault, aws: the External Secrets Operator is not in the cluster
    native-operator on kubernetes, 1 cell of doppler: the Doppler operator is not in the cluster
    ");
    let text = anstream::adapter::strip_str(&terminal(&scorecard)).to_string();
    for page in [text, markdown(&scorecard)] {
        assert_eq!(page.matches(eso).count(), 1, "{page}");
        assert!(!page.contains("kubernetes/native-eso") && !page.contains("kubernetes | native-eso"), "{page}");
        assert!(page.contains(ABSENT) && page.contains("it left no evidence"), "{page}");
    }
}

fn answered(question: Question, grade: Grade, told: &[(&str, DeliveryId, Verdict)]) -> Answer {
    let held: Vec<_> = told
        .iter()
        .map(|(check, delivery, verdict)| {
            let judgement = Judgement { verdict: *verdict, reason: "…".into() };
            evidence(cell(check, CandidateId::Vault, *delivery), grade, judgement)
        })
        .collect();
    let cells = held.iter().map(|evidence| evidence.cell.clone()).collect();
    Scorecard::judge(&run(cells), &held, false).answers[&question][&CandidateId::Vault].answer
}

const PROPAGATES: &str = "rotation.propagates";
const CONTROL: (&str, DeliveryId, Verdict) = ("rotation.redeploy-only", DeliveryId::Redeploy, Verdict::Pass);

#[rstest]
#[case::one_delivery_is_enough(&[(PROPAGATES, DeliveryId::Reload, Verdict::Pass), (PROPAGATES, DeliveryId::NativeExec, Verdict::Fail), CONTROL], Answer::Pass)]
#[case::none_is_not(&[(PROPAGATES, DeliveryId::Reload, Verdict::Fail), CONTROL], Answer::Fail)]
#[case::each_needs_all_its_checks(&[(PROPAGATES, DeliveryId::Reload, Verdict::Pass), ("rotation.burst", DeliveryId::Reload, Verdict::Fail), CONTROL], Answer::Fail)]
#[case::an_error_beside_a_failure_is_unknown(&[(PROPAGATES, DeliveryId::Reload, Verdict::Error), (PROPAGATES, DeliveryId::Restart, Verdict::Fail), CONTROL], Answer::Error)]
#[case::an_error_is_no_failure(&[(PROPAGATES, DeliveryId::Reload, Verdict::Error), CONTROL], Answer::Error)]
#[case::a_broken_control_decides(&[(PROPAGATES, DeliveryId::Reload, Verdict::Pass), ("rotation.redeploy-only", DeliveryId::Redeploy, Verdict::Fail)], Answer::Fail)]
#[case::the_control_alone_answers_nothing(&[CONTROL], Answer::NotRun)]
#[case::what_is_not_there_says_nothing(&[(PROPAGATES, DeliveryId::Reload, Verdict::Pass), (PROPAGATES, DeliveryId::NativeExec, Verdict::NotRun), CONTROL], Answer::Pass)]
#[case::what_is_not_there_is_no_answer(&[(PROPAGATES, DeliveryId::NativeExec, Verdict::NotRun), CONTROL], Answer::NotRun)]
#[case::a_gap_is_a_maybe(&[(PROPAGATES, DeliveryId::Reload, Verdict::NotSupported), CONTROL], Answer::Maybe)]
fn a_rotation_has_to_arrive_under_one_delivery(#[case] told: &[(&str, DeliveryId, Verdict)], #[case] expected: Answer) {
    assert_eq!(answered(Question::Rotation, Grade::Live, told), expected);
}

#[rstest]
#[case::all(&[("audit.reads-recorded", DeliveryId::Reload, Verdict::Pass)], Grade::Live, Answer::Pass)]
#[case::one_of_two(&[("audit.reads-recorded", DeliveryId::Reload, Verdict::Pass), ("audit.reads-recorded", DeliveryId::Restart, Verdict::Fail)], Grade::Live, Answer::Fail)]
#[case::gap(&[("audit.rotation-recorded", DeliveryId::Reload, Verdict::Pass), ("audit.reads-recorded", DeliveryId::Reload, Verdict::NotSupported)], Grade::Live, Answer::Maybe)]
#[case::stand_in(&[("audit.reads-recorded", DeliveryId::Reload, Verdict::Pass)], Grade::StandIn, Answer::Works)]
#[case::one_is_not_there(&[("audit.reads-recorded", DeliveryId::Reload, Verdict::Pass), ("audit.reads-recorded", DeliveryId::Restart, Verdict::NotRun)], Grade::Live, Answer::Pass)]
#[case::nothing(&[], Grade::Live, Answer::NotRun)]
fn everything_else_has_to_hold_under_every_delivery(
    #[case] told: &[(&str, DeliveryId, Verdict)],
    #[case] grade: Grade,
    #[case] expected: Answer,
) {
    assert_eq!(answered(Question::Audit, grade, told), expected);
}

#[test]
fn a_part_of_the_cells_answers_no_question() {
    let held = [evidence(
        cell("scope.same-name", CandidateId::Vault, DeliveryId::ReloadPoll),
        Grade::SelfHosted,
        Judgement::pass("…"),
    )];
    let scorecard = Scorecard::new(&run(held.iter().map(|evidence| evidence.cell.clone()).collect()), &held);
    let answered = &scorecard.answers[&Question::Isolation][&CandidateId::Vault];
    assert_eq!((answered.answer, answered.because.as_str()), (Answer::NotRun, "only 1 of its 3 cells were asked for"));
}

#[rstest]
#[case::all_pass(&[Verdict::Pass], Verdict::Pass)]
#[case::one_fails(&[Verdict::Pass, Verdict::Fail], Verdict::Fail)]
#[case::one_errs(&[Verdict::Fail, Verdict::Error], Verdict::Error)]
#[case::gaps_only(&[Verdict::NotSupported], Verdict::NotSupported)]
#[case::one_is_not_there(&[Verdict::Pass, Verdict::NotRun], Verdict::Pass)]
#[case::none_is_there(&[Verdict::NotRun], Verdict::NotRun)]
fn the_run_is_as_good_as_its_worst_cell(#[case] verdicts: &[Verdict], #[case] expected: Verdict) {
    let checks = ["scope.isolated", "scope.same-name"];
    let held: Vec<_> = verdicts
        .iter()
        .zip(checks)
        .map(|(verdict, check)| {
            let judgement = Judgement { verdict: *verdict, reason: "…".into() };
            evidence(cell(check, CandidateId::Vault, DeliveryId::Reload), Grade::Live, judgement)
        })
        .collect();
    let cells: Vec<_> = held.iter().map(|evidence| evidence.cell.clone()).collect();
    assert_eq!(Scorecard::new(&run(cells.clone()), &held).verdict(), expected);
    assert_eq!(Scorecard::new(&run(cells), &held[1..]).verdict(), Verdict::Error, "a cell without evidence");
}

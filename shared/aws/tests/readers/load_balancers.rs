//! Target groups, found by their tags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_aws::metrics::CloudWatch;
use portcullis_domain::action::Window;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{Colour, Metric, Place};
use portcullis_engine::ports::{Metrics, PortResult};

use crate::metrics::{GET, ask, results, service, target, window};
use crate::replay::{Answer, Asked, Aws, place};

const GROUPS: &str = "DescribeTargetGroups";
const TAGS: &str = "DescribeTags";

const CLUSTER: &str = "elbv2.k8s.aws/cluster";
const RESOURCE: &str = "ingress.k8s.aws/resource";
const STACK: &str = "ingress.k8s.aws/stack";

/// The answers of the shapes: `web` has a target group of each colour behind one load balancer.
pub(crate) fn found() -> [Answer; 3] {
    [
        Answer::xml(GROUPS, shape!("elbv2-target-groups-1.xml")),
        Answer::xml(GROUPS, shape!("elbv2-target-groups-2.xml")).when("Marker=page-2"),
        Answer::xml(TAGS, shape!("elbv2-tags.xml")),
    ]
}

/// A target group, with what is in front of it and its tags.
#[derive(Debug, Clone)]
struct Group {
    name: String,
    load_balancers: Vec<&'static str>,
    tags: BTreeMap<&'static str, String>,
}

/// The group of a Kubernetes Service, as the Ingress `shop` of our namespace has it.
fn group(service: &str) -> Group {
    let tags = BTreeMap::from([
        (CLUSTER, "volteryde-main".to_owned()),
        (RESOURCE, format!("volteryde/shop-{service}:80")),
        (STACK, "volteryde/shop".to_owned()),
    ]);
    Group { name: service.to_owned(), load_balancers: vec!["app/shop/1"], tags }
}

impl Group {
    fn behind(self, load_balancers: &[&'static str]) -> Self {
        Self { load_balancers: load_balancers.to_vec(), ..self }
    }

    fn tagged(mut self, tag: &'static str, value: &str) -> Self {
        self.tags.insert(tag, value.to_owned());
        self
    }

    fn without(mut self, tag: &str) -> Self {
        self.tags.remove(tag);
        self
    }

    fn arn(&self) -> String {
        arn(&format!("targetgroup/{}/1", self.name))
    }
}

fn arn(of: &str) -> String {
    format!("arn:aws:elasticloadbalancing:us-east-1:444444444444:{of}")
}

fn members(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().map(|inner| format!("<member>{inner}</member>")).collect::<Vec<_>>().concat()
}

fn listed(groups: &[Group]) -> Answer {
    let listed = members(groups.iter().map(|group| {
        let behind = members(group.load_balancers.iter().map(|name| arn(&format!("loadbalancer/{name}"))));
        format!("<TargetGroupArn>{}</TargetGroupArn><LoadBalancerArns>{behind}</LoadBalancerArns>", group.arn())
    }));
    let result =
        format!("<DescribeTargetGroupsResult><TargetGroups>{listed}</TargetGroups></DescribeTargetGroupsResult>");
    Answer::xml(GROUPS, format!("<DescribeTargetGroupsResponse>{result}</DescribeTargetGroupsResponse>"))
}

fn described(groups: &[Group]) -> Answer {
    let described = members(groups.iter().map(|group| {
        let tags = members(group.tags.iter().map(|(key, value)| format!("<Key>{key}</Key><Value>{value}</Value>")));
        format!("<ResourceArn>{}</ResourceArn><Tags>{tags}</Tags>", group.arn())
    }));
    let result = format!("<DescribeTagsResult><TagDescriptions>{described}</TagDescriptions></DescribeTagsResult>");
    Answer::xml(TAGS, format!("<DescribeTagsResponse>{result}</DescribeTagsResponse>"))
}

/// What it takes to find these groups.
fn finding(groups: &[Group]) -> [Answer; 2] {
    [listed(groups), described(groups)]
}

/// What it takes to measure one group: 600 requests in each of two minutes.
fn busy() -> Answer {
    Answer::cbor(GET, &results(&[("q1", &[600.0, 600.0]), ("q2", &[]), ("q3", &[])]).to_string())
}

/// Nobody asked for anything.
fn idle() -> Answer {
    Answer::cbor(GET, &results(&[("q1", &[]), ("q2", &[]), ("q3", &[])]).to_string())
}

struct World {
    aws: Aws,
    cloudwatch: CloudWatch,
}

impl World {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let aws = Aws::answering(answers);
        let cloudwatch = CloudWatch::new(aws.roles());
        Self { aws, cloudwatch }
    }

    async fn measure_at(&self, place: &Place, colour: Colour) -> PortResult<BTreeMap<ServiceName, Window>> {
        let (from, to) = window();
        self.cloudwatch.measure(&target(), place, &ask(colour, &[]), from, to).await
    }

    async fn measure(&self, colour: Colour) -> PortResult<BTreeMap<ServiceName, Window>> {
        self.measure_at(&place(), colour).await
    }
}

/// The load balancer and the target group of each query for requests.
fn dimensions(asked: &[Asked]) -> Vec<(String, String)> {
    let bodies = asked.iter().filter(|asked| asked.operation == GET).map(Asked::body);
    let queries = bodies.flat_map(|body| body["MetricDataQueries"].as_array().cloned().unwrap());
    let metrics = queries.map(|query| query["MetricStat"]["Metric"].clone());
    let requests = metrics.filter(|metric| metric["MetricName"] == "RequestCount");
    let value = |metric: &serde_json::Value, at: usize| metric["Dimensions"][at]["Value"].as_str().unwrap().to_owned();
    requests.map(|metric| (value(&metric, 0), value(&metric, 1))).collect()
}

fn operations(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.operation.as_str()).collect()
}

#[tokio::test]
async fn groups_are_found_on_every_page_and_each_colour_by_its_tags() {
    let world = World::new(found().into_iter().chain([busy(), busy()]));
    for colour in [Colour::Green, Colour::Blue] {
        assert_eq!(world.measure(colour).await.unwrap()[&service("web")].requests, 1_200, "{colour}");
    }
    let asked = world.aws.asked();
    assert_eq!(operations(&asked), [GROUPS, GROUPS, TAGS, GET, GET], "what was found is kept");
    assert!(asked[0].uri.starts_with("https://elasticloadbalancing.us-east-1.amazonaws.com"), "{}", asked[0].uri);
    let fields = |at: usize| asked[at].text().split('&').map(str::to_owned).collect::<BTreeSet<_>>();
    let expected = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(fields(0), expected(&["Action=DescribeTargetGroups", "Version=2015-12-01", "PageSize=400"]));
    let second = ["Action=DescribeTargetGroups", "Version=2015-12-01", "PageSize=400", "Marker=page-2"];
    assert_eq!(fields(1), expected(&second));
    let arn = "arn%3Aaws%3Aelasticloadbalancing%3Aus-east-1%3A444444444444%3Atargetgroup%2F";
    let tags: [&str; 4] = [
        "Action=DescribeTags",
        "Version=2015-12-01",
        &format!("ResourceArns.member.1={arn}k8s-volteryd-webblue-1a2b3c4d5e%2F73e2d6bc24d8a067"),
        &format!("ResourceArns.member.2={arn}k8s-volteryd-webgreen-5f6a7b8c9d%2F943f017f100becff"),
    ];
    assert_eq!(fields(2), expected(&tags), "neither of a Network Load Balancer nor of none");
    let in_front = "app/k8s-volteryd-shop-0a1b2c3d4e/50dc6c495c0c9188".to_owned();
    let green = "targetgroup/k8s-volteryd-webgreen-5f6a7b8c9d/943f017f100becff".to_owned();
    let blue = "targetgroup/k8s-volteryd-webblue-1a2b3c4d5e/73e2d6bc24d8a067".to_owned();
    assert_eq!(dimensions(&asked), [(in_front.clone(), green), (in_front, blue)]);
}

#[tokio::test]
async fn tags_are_asked_for_twenty_groups_at_a_time() {
    let mut groups: Vec<Group> = (0..20).map(|at| group(&format!("other-{at:02}"))).collect();
    groups.push(group("web"));
    let (first, second) = groups.split_at(20);
    let world = World::new([listed(&groups), described(first), described(second), busy()]);
    assert_eq!(world.measure(Colour::Green).await.unwrap().len(), 1);
    let asked = world.aws.asked();
    assert_eq!(operations(&asked), [GROUPS, TAGS, TAGS, GET]);
    let count = |asked: &Asked| asked.text().matches("ResourceArns.member.").count();
    assert_eq!((count(&asked[1]), count(&asked[2])), (20, 1));
}

#[tokio::test]
async fn one_group_for_both_colours_tells_neither_from_the_other() {
    let world = World::new(finding(&[group("web")]).into_iter().chain([busy(), busy()]));
    for colour in [Colour::Blue, Colour::Green] {
        assert_eq!(world.measure(colour).await.unwrap()[&service("web")].requests, 1_200);
    }
    let group = ("app/shop/1".to_owned(), "targetgroup/web/1".to_owned());
    assert_eq!(dimensions(&world.aws.asked()), [group.clone(), group]);
}

#[tokio::test]
async fn a_colour_without_a_group_is_not_measured_by_the_others() {
    let world = World::new(finding(&[group("web-blue")]));
    assert_eq!(world.measure(Colour::Green).await.unwrap(), BTreeMap::new());
    assert_eq!(world.aws.operations(), [GROUPS, TAGS], "CloudWatch is not asked");
}

#[tokio::test]
async fn a_service_without_a_group_is_not_measured() {
    for (what, answers, asked) in [
        ("there is none", vec![listed(&[])], vec![GROUPS]),
        ("of a Network Load Balancer", vec![listed(&[group("web").behind(&["net/shop/1"])])], vec![GROUPS]),
        ("behind nothing", vec![listed(&[group("web").behind(&[])])], vec![GROUPS]),
        ("of another cluster", finding(&[group("web").tagged(CLUSTER, "other")]).into(), vec![GROUPS, TAGS]),
        (
            "of another namespace",
            finding(&[group("web").tagged(RESOURCE, "books/shop-web:80").tagged(STACK, "books/shop")]).into(),
            vec![GROUPS, TAGS],
        ),
        (
            "of a Service of type LoadBalancer",
            finding(&[group("web").without(RESOURCE).tagged("service.k8s.aws/resource", "volteryde/web:80")]).into(),
            vec![GROUPS, TAGS],
        ),
        ("of another service", finding(&[group("admin-web")]).into(), vec![GROUPS, TAGS]),
    ] {
        let world = World::new(answers);
        assert_eq!(world.measure(Colour::Green).await.unwrap(), BTreeMap::new(), "{what}");
        assert_eq!(world.aws.operations(), asked, "{what}");
    }
}

#[tokio::test]
async fn ingresses_that_share_a_load_balancer_are_told_apart_by_the_names_of_their_groups() {
    let shared = |name: &str, backend: &str| Group {
        name: name.to_owned(),
        ..group("").tagged(STACK, "shared-alb").tagged(RESOURCE, &format!("volteryde/{backend}:80"))
    };
    let groups = [
        shared("k8s-volteryd-adminweb-0a1b2c3d4e", "shop-admin-web"),
        shared("k8s-volteryd-web-5f6a7b8c9d", "shop-web"),
    ];
    let world = World::new(finding(&groups).into_iter().chain([busy()]));
    world.measure(Colour::Green).await.unwrap();
    let found = ("app/shop/1".to_owned(), "targetgroup/k8s-volteryd-web-5f6a7b8c9d/1".to_owned());
    assert_eq!(dimensions(&world.aws.asked()), [found]);
}

#[tokio::test]
async fn requests_of_several_load_balancers_are_added_and_the_worst_response_time_is_told() {
    let groups = [group("web").behind(&["app/public/1", "app/inside/2", "net/other/3"])];
    let answer = results(&[
        // Requests of the one inside, then of the public one.
        ("q1", &[600.0, 600.0]),
        ("q2", &[300.0]),
        // Of each its 5xx answers and its connection errors.
        ("q3", &[6.0]),
        ("q4", &[]),
        ("q5", &[3.0]),
        ("q6", &[6.0]),
        ("q7", &[0.25, 0.5]),
        ("q8", &[0.75, 0.125]),
    ]);
    let world = World::new(finding(&groups).into_iter().chain([Answer::cbor(GET, &answer.to_string())]));
    let (from, to) = window();
    let ask = ask(Colour::Green, &[Metric::ErrorRate, Metric::ResponseTimeP95]);
    let measured = world.cloudwatch.measure(&target(), &place(), &ask, from, to).await.unwrap();
    let expected = Window {
        values: BTreeMap::from([
            (Metric::Requests, 12_500),
            (Metric::ErrorRate, 100),
            (Metric::ResponseTimeP95, 750_000),
        ]),
        requests: 1_500,
        failed: 15,
        ready: None,
    };
    assert_eq!(measured, BTreeMap::from([(service("web"), expected)]));
    let group = "targetgroup/web/1".to_owned();
    let expected = [("app/inside/2".to_owned(), group.clone()), ("app/public/1".to_owned(), group)];
    assert_eq!(dimensions(&world.aws.asked()), expected);
}

#[tokio::test]
async fn two_groups_that_cannot_both_be_a_services_are_an_error_until_there_is_one() {
    let ambiguous = [group("web"), group("web-green")];
    let world = World::new(finding(&ambiguous));
    let error = world.measure(Colour::Green).await.unwrap_err();
    assert_eq!(error.doing, "measuring volteryde/production in volteryde-main");
    let both = ["targetgroup/web/1 (shop-web)", "targetgroup/web-green/1 (shop-web-green)"];
    assert!(both.iter().all(|group| error.found.contains(group)), "{error}");
    assert_eq!(world.aws.operations(), [GROUPS, TAGS]);
    world.aws.also(finding(&ambiguous[1..]).into_iter().chain([busy()]));
    assert_eq!(world.measure(Colour::Green).await.unwrap().len(), 1, "it is looked for anew at once");
}

#[tokio::test(start_paused = true)]
async fn what_was_found_counts_for_five_minutes_and_for_its_place_only() {
    let world = World::new(finding(&[group("web")]).into_iter().chain([busy()]));
    world.measure(Colour::Green).await.unwrap();
    assert_eq!(world.aws.operations(), [GROUPS, TAGS, GET]);
    tokio::time::advance(Duration::from_secs(299)).await;
    world.aws.also([busy()]);
    world.measure(Colour::Green).await.unwrap();
    assert_eq!(world.aws.operations(), [GET]);

    let books = Place { namespace: "books".to_owned(), ..place() };
    let group = group("web").tagged(RESOURCE, "books/shop-web:80").tagged(STACK, "books/shop");
    world.aws.also(finding(std::slice::from_ref(&group)).into_iter().chain([busy()]));
    assert_eq!(world.measure_at(&books, Colour::Green).await.unwrap().len(), 1);
    assert_eq!(world.aws.operations(), [GROUPS, TAGS, GET]);

    tokio::time::advance(Duration::from_secs(1)).await;
    world.aws.also(finding(&[self::group("web")]).into_iter().chain([busy()]));
    world.measure(Colour::Green).await.unwrap();
    assert_eq!(world.aws.operations(), [GROUPS, TAGS, GET]);
}

#[tokio::test]
async fn a_measurement_that_finds_nothing_looks_for_the_groups_anew() {
    let world = World::new(finding(&[group("web")]).into_iter().chain([idle()]));
    assert_eq!(world.measure(Colour::Green).await.unwrap(), BTreeMap::new());
    // The Ingress was made anew meanwhile.
    let again = Group { name: "web-again".to_owned(), ..group("web") };
    world.aws.asked();
    world.aws.also(finding(&[again]).into_iter().chain([busy()]));
    assert_eq!(world.measure(Colour::Green).await.unwrap().len(), 1);
    let asked = world.aws.asked();
    assert_eq!(operations(&asked), [GROUPS, TAGS, GET]);
    assert_eq!(dimensions(&asked), [("app/shop/1".to_owned(), "targetgroup/web-again/1".to_owned())]);
}

#[tokio::test]
async fn a_refusal_says_what_was_looked_for_and_is_not_kept() {
    let refused = |operation| {
        let body =
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>";
        Answer::xml(operation, body).status(403)
    };
    let world = World::new([refused(GROUPS), listed(&[group("web")]), refused(TAGS)]);
    for _ in [GROUPS, TAGS] {
        let error = world.measure(Colour::Green).await.unwrap_err();
        assert_eq!(error.doing, "finding the target groups of volteryde-main/volteryde");
        assert!(error.found.contains("AccessDenied: not authorized"), "{error}");
    }
    world.aws.also(finding(&[group("web")]).into_iter().chain([busy()]));
    assert_eq!(world.measure(Colour::Green).await.unwrap().len(), 1);
}

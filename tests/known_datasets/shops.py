"""Shops: Retailrocket, REES46, Yoochoose, Diginetica, Taobao, H&M, Instacart, OTTO, Home Depot, Open Bandit."""

from pathlib import Path

from tests.known_datasets.log import EVENTS_EACH, ITEM, USER, events, lines, objects, write


def retailrocket(folder: Path) -> None:
    """events.csv: timestamp,visitorid,event,itemid,transactionid; item_properties_part1.csv: timestamp,itemid,property,value;
    category_tree.csv: categoryid,parentid. https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset
    """
    kinds = ("view", "view", "addtocart", "transaction")
    rows = (f"{e.time_s}123,{e.user},{kinds[e.place % 4]},{e.item},{e.user if e.place % 4 == 3 else ''}" for e in events())
    write(folder / "events.csv", lines(["timestamp,visitorid,event,itemid,transactionid"], rows))
    for part in (1, 2):
        properties = (f"14{part}0000000000,{item},{name},{value}" for item in ITEM for name, value in _properties(item, part))
        write(folder / f"item_properties_part{part}.csv", lines(["timestamp,itemid,property,value"], properties))
    write(folder / "category_tree.csv", "categoryid,parentid\n0,\n1,0\n2,0\n3,1\n")


def _properties(item: int, part: int) -> list[tuple[str, str]]:
    return [("categoryid", str(item % 3 + 1 if part == 2 else 0)), ("available", str(part % 2)), ("790", "n12.000")]


def rees46(folder: Path) -> None:
    """2019-Oct.csv: event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session.
    https://www.kaggle.com/datasets/mkechinov/ecommerce-behavior-data-from-multi-category-store
    """
    kinds = ("view", "cart", "remove_from_cart", "purchase")
    header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
    for month, places in (("2019-Oct", (0, 1, 2, 3, 4)), ("2019-Nov", (5, 6, 7, 8, 9))):
        rows = (
            f"{e.at:%Y-%m-%d %H:%M:%S} UTC,{kinds[e.place % 4]},{e.item},20530{e.item},{'' if e.item % 5 else 'electronics.smartphone'},"
            f"lúcente,35.79,{e.user},{e.user:08}-7e1b-4bb0"
            for e in events()
            if e.place in places
        )
        write(folder / f"{month}.csv", lines([header], rows))


def yoochoose(folder: Path) -> None:
    """yoochoose-clicks.dat: "Session ID, Timestamp, Item ID, Category"; yoochoose-buys.dat: "Session ID, Timestamp, Item ID, Price,
    Quantity", without headers. https://2015.recsyschallenge.com/challenge.html and the archive's dataset-README.txt
    """
    clicks = (f"{e.user},{e.at:%Y-%m-%dT%H:%M:%S}.277Z,{e.item},{('0', 'S', '7')[e.place % 3]}" for e in events())
    write(folder / "yoochoose-clicks.dat", lines(clicks))
    buys = (f"{e.user},{e.at:%Y-%m-%dT%H:%M:%S}.978Z,{e.item},1046,1" for e in events() if e.place % 4 == 3)
    write(folder / "yoochoose-buys.dat", lines(buys))


def diginetica(folder: Path) -> None:
    """train-item-views.csv: sessionId;userId;itemId;timeframe;eventdate; train-purchases.csv: sessionId;userId;timeframe;eventdate;
    ordernumber;itemId; products.csv: itemId;pricelog2;product.name.tokens; product-categories.csv: itemId;categoryId; train-queries.csv:
    queryId;sessionId;userId;timeframe;duration;eventdate;searchstring.tokens;categoryId;items;is.test; train-clicks.csv:
    queryId;timeframe;itemId. https://competitions.codalab.org/competitions/11161
    """
    log = list(events())
    views = (f"{e.user};{'NA' if e.user % 3 else e.user + 900};{e.item};{e.place * 61_000 + 1};{e.at:%Y-%m-%d}" for e in log)
    write(folder / "train-item-views.csv", lines(["sessionId;userId;itemId;timeframe;eventdate"], views))
    bought = (f"{e.user};NA;{e.place * 61_000};{e.at:%Y-%m-%d};{e.user};{e.item}" for e in log if e.place == EVENTS_EACH - 1)
    write(folder / "train-purchases.csv", lines(["sessionId;userId;timeframe;eventdate;ordernumber;itemId"], bought))
    header = "queryId;sessionId;userId;timeframe;duration;eventdate;searchstring.tokens;categoryId;items;is.test"
    asked = (f"{user};{user};NA;16327074;311;2011-03-{20 + user % 9};16655,244087;0;1,2,3;FALSE" for user in USER)
    write(folder / "train-queries.csv", lines([header], asked))
    write(folder / "train-clicks.csv", lines(["queryId;timeframe;itemId"], (f"{user};16350000;{user}" for user in USER)))
    write(folder / "products.csv", lines(["itemId;pricelog2;product.name.tokens"], (f"{item};10;4875,776,56689" for item in ITEM)))
    write(folder / "product-categories.csv", lines(["itemId;categoryId"], (f"{item};{item % 4}" for item in ITEM)))


def taobao(folder: Path) -> None:
    """UserBehavior.csv: user ID, item ID, category ID, behavior type, timestamp; no header. https://tianchi.aliyun.com/dataset/649"""
    kinds = ("pv", "fav", "cart", "buy", "pv")
    write(folder / "UserBehavior.csv", lines(f"{e.user},{e.item},{e.item % 4},{kinds[e.place % 5]},{e.time_s}" for e in events()))


def hm(folder: Path) -> None:
    """transactions_train.csv: t_dat,customer_id,article_id,price,sales_channel_id; articles.csv: article_id,product_code,prod_name,…;
    customers.csv: customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code.
    https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations/data
    """
    header = "t_dat,customer_id,article_id,price,sales_channel_id"
    rows = (f"{e.at:%Y-%m-%d},{e.user:064x},0{663713000 + e.item},0.0508,{1 + e.place % 2}" for e in events())
    write(folder / "transactions_train.csv", lines([header], rows))
    columns = "article_id,product_code,prod_name,product_type_no,product_type_name,product_group_name,graphical_appearance_no"
    columns += ",graphical_appearance_name,colour_group_code,colour_group_name,department_no,department_name,index_code,index_name"
    columns += ",index_group_no,index_group_name,section_no,section_name,garment_group_no,garment_group_name,detail_desc"
    articles = (
        f"0{663713000 + item},{663713 + item},Strap top ({item}),253,Vest top,Garment Upper body,1010016,Solid,09,Black,1676,Jersey Basic,"
        'A,Ladieswear,1,Ladieswear,16,Womens Everyday Basics,1002,Jersey Basic,"Jersey top, with narrow straps."'
        for item in ITEM
    )
    write(folder / "articles.csv", lines([columns], articles))
    customers = (f"{user:064x},{'1.0' if user % 2 else ''},,ACTIVE,NONE,{20 + user}.0,{user:08x}" for user in USER)
    write(folder / "customers.csv", lines(["customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code"], customers))


def instacart(folder: Path) -> None:
    """orders.csv: order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order; order_products__prior.csv and
    order_products__train.csv: order_id,product_id,add_to_cart_order,reordered; products.csv: product_id,product_name,aisle_id,
    department_id; aisles.csv: aisle_id,aisle; departments.csv: department_id,department.
    https://gist.github.com/jeremystan/c3b39d947d9b88b3ccff3147dbcf6c6b
    """
    orders = [(user, number, user * 5 + number) for user in USER for number in range(1, 6)]
    header = "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order"
    rows = (f"{order},{user},{'train' if n == 5 else 'prior'},{n},{n},08,{'' if n == 1 else '7.0'}" for user, n, order in reversed(orders))
    write(folder / "orders.csv", lines([header], rows))
    for part in ("prior", "train"):
        bought = (
            f"{order},{(user * 7 + (place + n % 2) * 11) % 30},{place + 1},{int(n > 2)}"
            for user, n, order in orders
            if (n == 5) == (part == "train")
            for place in range(2)
        )
        write(folder / f"order_products__{part}.csv", lines(["order_id,product_id,add_to_cart_order,reordered"], bought))
    products = (f'{item},"Oat bar, pack of {item}",{item % 3 + 1},{item % 2 + 1}' for item in ITEM)
    write(folder / "products.csv", lines(["product_id,product_name,aisle_id,department_id"], products))
    write(folder / "aisles.csv", "aisle_id,aisle\n1,energy bars\n2,fresh fruits\n3,bread\n")
    write(folder / "departments.csv", "department_id,department\n1,snacks\n2,produce\n")


def otto(folder: Path) -> None:
    """otto-recsys-train.jsonl: {"session": …, "events": [{"aid": …, "ts": …, "type": "clicks"}, …]}.
    https://github.com/otto-de/recsys-dataset#dataset-format
    """
    kinds, log = ("clicks", "carts", "clicks", "orders"), list(events())
    sessions = (
        {
            "session": user,
            "events": [{"aid": e.item, "ts": e.time_s * 1000 + 278, "type": kinds[e.place % 4]} for e in log if e.user == user],
        }
        for user in USER
    )
    write(folder / "otto-recsys-train.jsonl", objects(sessions))
    write(folder / "otto-recsys-test.jsonl", objects([{"session": 99, "events": [{"aid": 1, "ts": 1661724000278, "type": "clicks"}]}]))


def home_depot(folder: Path) -> None:
    """train.csv: "id","product_uid","product_title","search_term","relevance", in Latin-1; product_descriptions.csv:
    "product_uid","product_description". https://www.kaggle.com/c/home-depot-product-search-relevance/data
    """
    relevance = ("1", "1.33", "2", "2.67", "3")
    rows = (f'{n},{100001 + e.item},"Angle {e.item} ½ in.","bracket {e.user}",{relevance[e.rating - 1]}' for n, e in enumerate(events()))
    write(folder / "train.csv", lines(['"id","product_uid","product_title","search_term","relevance"'], rows), "latin1")
    texts = (f'{100001 + item},"Not only do angles make joints stronger"' for item in ITEM)
    write(folder / "product_descriptions.csv", lines(['"product_uid","product_description"'], texts))


def open_bandit(folder: Path) -> None:
    """{bts,random}/men/men.csv: ,timestamp,item_id,position,click,propensity_score,user_feature_0,…,user-item_affinity_0,…;
    item_context.csv: ,item_id,item_feature_0,…,item_feature_3. https://github.com/st-tech/zr-obp/tree/master/obd
    """
    people = [f"{user % 3:032x},{user % 2:032x},{user:032x},0f" for user in USER]
    header = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3"
    for policy, propensity in (("bts", 0.1), ("random", 1 / 30)):
        rows = (
            f"{n},{e.at:%Y-%m-%d %H:%M:%S}.979311+00:00,{e.item},{n % 3 + 1},{int(e.place % 2 == 0)},{propensity},{people[e.user]},0.0"
            for n, e in enumerate(events())
        )
        write(folder / policy / "men" / "men.csv", lines([f"{header},user-item_affinity_0"], rows))
        context = (f"{item},{item},{item * 0.1 - 1:.3f},aa,bb{item % 3},cc" for item in ITEM)
        head = ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3"
        write(folder / policy / "men" / "item_context.csv", lines([head], context))

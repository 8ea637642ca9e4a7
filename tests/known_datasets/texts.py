"""Reviews, books, news, music, places, games, learners, and plain files of protocols."""

import json
from pathlib import Path

from tests.known_datasets.log import ITEM, USER, events, lines, objects, python_literals, write

PLACE = {"latitude": 30.2359091167, "longitude": -97.7951395833}


def amazon_2014(folder: Path) -> None:
    """reviews_Beauty_5.json.gz: { "reviewerID", "asin", "reviewerName", "helpful": [2, 3], "reviewText", "overall": 5.0, "summary",
    "unixReviewTime": 1252800000, "reviewTime": "09 13, 2009" }; meta_Beauty.json.gz: Python dictionaries with 'asin', 'title', 'price',
    'imUrl', 'related', 'salesRank', 'brand', 'categories': [['Sports & Outdoors', …]]. https://jmcauley.ucsd.edu/data/amazon/
    """
    reviews = (
        {"reviewerID": f"A{e.user:013}", "asin": f"B{e.item:09}", "reviewerName": "J.", "helpful": [2, 3], "reviewText": "I \"like\" it",
         "overall": float(e.rating), "summary": "ok", "unixReviewTime": e.time_s, "reviewTime": f"{e.at:%m %d, %Y}"}
        for e in events()
    )  # fmt: skip
    write(folder / "reviews_Beauty_5.json.gz", objects(reviews))
    products = ({"asin": f"B{item:09}", "title": f"Girls' tutu {item}", "price": 3.17, "imUrl": "http://x", "related": {"also_bought": []},
                 "brand": "Coxlures", "categories": [["Sports & Outdoors", "Dance"]]} for item in ITEM)  # fmt: skip
    write(folder / "meta_Beauty.json.gz", python_literals(products))


def amazon_2018(folder: Path) -> None:
    """AMAZON_FASHION_5.json.gz: {"reviewerID", "asin", "reviewerName", "vote": 5, "style": {…}, "reviewText", "overall": 5.0, "summary",
    "unixReviewTime": 1514764800, "reviewTime": "01 1, 2018", "verified"}; meta_AMAZON_FASHION.json.gz: {"asin", "title", "feature",
    "description", "price": "$3.17", "image", "also_buy", "also_view", "rank", "brand", "category": […]}.
    https://nijianmo.github.io/amazon/index.html
    """
    reviews = ({"overall": float(e.rating), "verified": True, "reviewTime": f"{e.at:%m %d, %Y}", "reviewerID": f"A{e.user:013}",
                "asin": f"B{e.item:09}", "style": {"Format:": " Hardcover"}, "reviewText": "ok", "summary": "ok",
                "unixReviewTime": e.time_s} for e in events())  # fmt: skip
    write(folder / "AMAZON_FASHION_5.json.gz", objects(reviews))
    products = ({"title": f"Tutu &amp; Co {item}", "brand": "Coxlures", "feature": [], "rank": "9", "price": "$1,003.17" if item else "",
                 "category": ["Clothing", "Girls &amp; Boys"], "description": ["A tutu"], "asin": f"B{item:09}"}
                for item in ITEM)  # fmt: skip
    write(folder / "meta_AMAZON_FASHION.json.gz", objects(products))


def amazon_2023(folder: Path) -> None:
    """All_Beauty.jsonl.gz: rating, title, text, images, asin, parent_asin, user_id, timestamp, verified_purchase, helpful_vote;
    meta_All_Beauty.jsonl.gz: main_category, title, average_rating, rating_number, features, description, price, images, videos, store,
    categories, details, parent_asin, bought_together. https://amazon-reviews-2023.github.io/ (data fields)
    """
    reviews = ({"rating": float(e.rating), "title": "ok", "text": "x", "images": [], "asin": f"B{e.item:09}",
                "parent_asin": f"P{e.item:09}", "user_id": f"AE{e.user:026}", "timestamp": e.time_s * 1000 + 23,
                "helpful_vote": 0, "verified_purchase": True}
               for e in events())  # fmt: skip
    write(folder / "All_Beauty.jsonl.gz", objects(reviews))
    prices = (None, "—", 9.99, "from 14.99")
    products = ({"main_category": "All Beauty", "title": f"Balm {item}", "average_rating": 4.8, "rating_number": 10, "features": [],
                 "description": [], "price": prices[item % 4], "images": [], "videos": [], "store": "Howard",
                 "categories": ["Beauty", "Hair"], "details": {"Package Dimensions": "7.1 x 5.5"},
                 "parent_asin": f"P{item:09}", "bought_together": None}
                for item in ITEM)  # fmt: skip
    write(folder / "meta_All_Beauty.jsonl.gz", objects(products))


def yelp(folder: Path) -> None:
    """yelp_academic_dataset_review.json: review_id, user_id, business_id, stars, date, text, useful, funny, cool; business.json:
    business_id, name, address, city, state, postal_code, latitude, longitude, stars, review_count, is_open, attributes, categories, hours;
    user.json: user_id, name, review_count, yelping_since, friends, …. https://www.yelp.com/dataset/documentation/main
    """
    reviews = ({"review_id": f"r{e.user}-{e.place}", "user_id": f"u{e.user}", "business_id": f"b{e.item}", "stars": float(e.rating),
                "useful": 0, "text": "Great\nplace", "date": f"{e.at:%Y-%m-%d %H:%M:%S}"} for e in events())  # fmt: skip
    write(folder / "yelp_academic_dataset_review.json", objects(reviews))
    places = ({"business_id": f"b{item}", "name": f"Garaje {item}", "city": "San Francisco", "state": "CA", **PLACE, "stars": 4.5,
               "review_count": 9, "is_open": int(item % 7 > 0), "attributes": {"WiFi": "u'no'"}, "categories": "Mexican, Burgers",
               "hours": None} for item in ITEM)  # fmt: skip
    write(folder / "yelp_academic_dataset_business.json", objects(places))
    people = ({"user_id": f"u{user}", "name": "Ann", "review_count": 9, "yelping_since": "2010-01-25 16:47:26", "elite": "",
               "friends": "u1, u2"} for user in USER)  # fmt: skip
    write(folder / "yelp_academic_dataset_user.json", objects(people))


def goodreads(folder: Path) -> None:
    """goodreads_interactions_poetry.json.gz: user_id, book_id, review_id, is_read, rating, review_text_incomplete, date_added,
    date_updated, read_at, started_at; goodreads_books_poetry.json.gz: book_id, title, title_without_series, authors, popular_shelves,
    language_code, publication_year, …. https://mengtingwan.github.io/data/goodreads.html
    """
    rows = ({"user_id": f"{e.user:032x}", "book_id": str(e.item), "review_id": f"{e.user}{e.place}", "is_read": e.place > 0,
             "rating": e.rating if e.place else 0, "review_text_incomplete": "", "date_added": f"{e.at:%a %b %d %H:%M:%S} -0700 {e.at:%Y}",
             "date_updated": "", "read_at": "", "started_at": ""} for e in events())  # fmt: skip
    write(folder / "goodreads_interactions_poetry.json.gz", objects(rows))
    books = ({"isbn": "", "country_code": "US", "language_code": "eng", "popular_shelves": [{"count": "2", "name": "to-read"}],
              "authors": [{"author_id": "1", "role": ""}], "publication_year": "1999", "publisher": "Faber", "format": "Paperback",
              "book_id": str(item), "title": f"Poems {item} (Series, #1)", "title_without_series": f"Poems {item}"}
             for item in ITEM)  # fmt: skip
    write(folder / "goodreads_books_poetry.json.gz", objects(books))


def goodreads_csv(folder: Path) -> None:
    """goodreads_interactions.csv: user_id,book_id,is_read,rating,is_reviewed; book_id_map.csv: book_id_csv,book_id.
    https://mengtingwan.github.io/data/goodreads.html
    """
    rows = (f"{e.user},{e.item},{int(e.place > 0)},{e.rating if e.place else 0},0" for e in events())
    write(folder / "goodreads_interactions.csv", lines(["user_id,book_id,is_read,rating,is_reviewed"], rows))
    write(folder / "book_id_map.csv", lines(["book_id_csv,book_id"], (f"{item},{item + 30000}" for item in ITEM)))


def book_crossing(folder: Path) -> None:
    """BX-Book-Ratings.csv: "User-ID";"ISBN";"Book-Rating"; BX-Books.csv: "ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";
    "Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"; BX-Users.csv: "User-ID";"Location";"Age".
    http://www2.informatik.uni-freiburg.de/~cziegler/BX/ and the files of BX-CSV-Dump.zip
    """
    rows = (f'"{e.user}";"{e.item:09}X";"{e.rating * 2 if e.place else 0}"' for e in events())
    write(folder / "BX-Book-Ratings.csv", lines(['"User-ID";"ISBN";"Book-Rating"'], rows), "latin1")
    header = '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"'
    books = (f'"{item:09}X";"Café &amp; Co \\"{item}\\"; a tale";"J. Doe";"2002";"Faber";"http://s";"http://m";"http://l"' for item in ITEM)
    write(folder / "BX-Books.csv", lines([header], books), "latin1")
    people = (f'"{user}";"são paulo, brazil";{NULL_AGE if user % 2 else 18}' for user in USER)
    write(folder / "BX-Users.csv", lines(['"User-ID";"Location";"Age"'], people), "latin1")


NULL_AGE = "NULL"


def steam(folder: Path) -> None:
    """steam_reviews.json.gz: {u'username', u'hours', u'products', u'product_id', u'page_order', u'date', u'text', u'early_access',
    u'page'}; steam_games.json.gz: {u'publisher', u'genres', u'app_name', u'title', u'url', u'release_date', u'tags', u'price', u'id',
    u'developer', …}.
    https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data
    """
    rows = ({"username": f"Gamer {e.user}", "hours": e.rating * 1.5, "products": 41, "product_id": str(725280 + e.item), "page_order": 0,
             "date": f"{e.at:%Y-%m-%d}", "text": "it's ok", "early_access": False, "page": 1} for e in events())  # fmt: skip
    write(folder / "steam_reviews.json.gz", python_literals(rows))
    games = ({"publisher": "Kotoshiro", "genres": ["Action", "Indie"], "app_name": f"Lost Summoner {item}",
              "title": f"Lost Summoner {item}", "release_date": "2018-01-04", "tags": ["Strategy", "Indie"],
              "price": 4.99 if item % 3 else "Free To Play",
              "early_access": False, "id": str(725280 + item), "developer": "Kotoshiro"} for item in ITEM)  # fmt: skip
    write(folder / "steam_games.json.gz", python_literals(games))


def lastfm_360k(folder: Path) -> None:
    """usersha1-artmbid-artname-plays.tsv: "user-mboxsha1 \\t musicbrainz-artist-id \\t artist-name \\t plays"; usersha1-profile.tsv:
    "user-mboxsha1 \\t gender ('m'|'f'|empty) \\t age (int|empty) \\t country (str|empty) \\t signup (date|empty)".
    http://ocelma.net/MusicRecommendationDataset/lastfm-360K.html
    """
    ids = [f"{item:08x}-8fed-4d3d-9c79-000000000000" if item % 6 else "" for item in ITEM]
    rows = (f'{e.user:040x}\t{ids[e.item]}\tThe "Band" {e.item}\t{e.rating * 20 + e.place}' for e in events())
    write(folder / "usersha1-artmbid-artname-plays.tsv", lines(rows))
    write(folder / "usersha1-profile.tsv", lines(f"{user:040x}\tf\t\tGermany\tFeb 1, 2007" for user in USER))


def lastfm_1k(folder: Path) -> None:
    """userid-timestamp-artid-artname-traid-traname.tsv: "userid \\t timestamp \\t musicbrainz-artist-id \\t artist-name \\t
    musicbrainz-track-id \\t track-name"; userid-profile.tsv: "userid \\t gender \\t age \\t country \\t signup", whose first line is
    #id\\tgender\\tage\\tcountry\\tregistered. http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html
    """
    rows = (f"user_{e.user:06}\t{e.at:%Y-%m-%dT%H:%M:%SZ}\tf1b1cf71\tDeep Dish\t\tFlashdance {e.item}" for e in events())
    write(folder / "userid-timestamp-artid-artname-traid-traname.tsv", lines(rows))
    people = (f"user_{user:06}\tm\t\tJapan\tAug 13, 2006" for user in USER)
    write(folder / "userid-profile.tsv", lines(["#id\tgender\tage\tcountry\tregistered"], people))


def mind(folder: Path) -> None:
    """behaviors.tsv: Impression ID, User ID, Time, History, Impressions; news.tsv: News ID, Category, SubCategory, Title, Abstract, URL,
    Title Entities, Abstract Entities; "divided by the tab symbol", without headers.
    https://github.com/msnews/msnews.github.io/blob/master/assets/doc/introduction.md
    """
    rows = (
        f"{n}\tU{e.user}\t{e.at.month}/{e.at.day}/{e.at.year} {e.at.hour % 12 or 12}:{e.at:%M:%S %p}\tN{(e.item + 1) % 30} N7\t"
        f"N{(e.item + 3) % 30}-0 N{e.item}-1 N{(e.item + 5) % 30}-0"
        for n, e in enumerate(events())
    )
    write(folder / "behaviors.tsv", lines(rows))
    entities = json.dumps([{"Label": "X", "Type": "P"}])
    news = (f'N{item}\tsports\tgolf\tThe "{item}" of golf\tAn abstract\thttps://assets.msn.com/N{item}\t{entities}\t[]' for item in ITEM)
    write(folder / "news.tsv", lines(news))


def gowalla(folder: Path) -> None:
    """loc-gowalla_totalCheckins.txt: [user] [check-in time] [latitude] [longitude] [location id], with tabs.
    https://snap.stanford.edu/data/loc-Gowalla.html
    """
    rows = (f"{e.user}\t{e.at:%Y-%m-%dT%H:%M:%SZ}\t30.2359{e.item:02}\t-97.7951395833\t{22847 + e.item}" for e in events())
    write(folder / "loc-gowalla_totalCheckins.txt.gz", lines(rows))
    write(folder / "loc-gowalla_edges.txt.gz", "0\t1\n1\t0\n")


def assistments_2009(folder: Path) -> None:
    """fold1.csv: four lines a learner (a number and an id, problems, skills, answers); skill.json: numbers of skills by name. The form in
    which sequences of https://sites.google.com/site/assistmentsdata are prepared for knowledge tracing.
    """
    log = list(events())
    for fold in (1, 2):
        records = []
        for user in (user for user in USER if user % 2 == fold % 2):
            mine = [e for e in log if e.user == user]
            records += [f"{len(mine)},{user}", *(",".join(map(str, row)) for row in ([e.item for e in mine], [e.item % 3 + 1 for e in mine],
                                                                                     [int(e.rating > 2) for e in mine]))]  # fmt: skip
        write(folder / f"fold{fold}.csv.gz", lines(records))
    write(folder / "skill.json.gz", '{"Box and Whisker": 1, "Median": 2, "Mode": 3}')


def assistments_2009_table(folder: Path) -> None:
    """skill_builder_data.csv: order_id,assignment_id,user_id,assistment_id,problem_id,original,correct,attempt_count,ms_first_response,
    tutor_mode,answer_type,…,skill_id,skill_name,…,hint_count,….
    https://sites.google.com/site/assistmentsdata/home/2009-2010-assistment-data
    """
    header = "order_id,assignment_id,user_id,assistment_id,problem_id,original,correct,attempt_count,ms_first_response,tutor_mode"
    header += ",answer_type,sequence_id,student_class_id,position,type,base_sequence_id,skill_id,skill_name,school_id,hint_count"
    rows = []
    for e in events():
        begin = (
            f"{33022500 + e.place * 100 + e.user},277618,{e.user},33139,{e.item},1,{int(e.rating > 2)},1,32454,tutor,algebra,5948,13241,126"
        )
        rows += [f"{begin},MasterySection,5948,{skill},Café skill {skill},22763,73" for skill in range(1, 3 if e.item % 5 == 0 else 2)]
    write(folder / "skill_builder_data.csv", lines([header], rows), "latin1")


def interactions(folder: Path) -> None:
    """interactions.csv.gz: user_id,item_id,position; items.csv.gz: item_id,attribute_ids; as protocols of published papers prepare them."""
    rows = (f"{e.user},{e.item},{e.place}" for e in events())
    write(folder / "interactions.csv.gz", lines(["user_id,item_id,position"], rows))
    write(folder / "items.csv.gz", lines(["item_id,attribute_ids"], (f"{item},{item % 3} 7" for item in ITEM)))


def sequences(folder: Path) -> None:
    """train.txt: "Each line is a user with her/his positive interactions with items: userID\\t a list of itemID\\n", between spaces.
    https://github.com/kuandeng/LightGCN (README)
    """
    log = list(events())
    rows = (f"{user} {' '.join(str(e.item) for e in log if e.user == user)}" for user in USER)
    write(folder / "train.txt", lines(rows, ["20"]))
    write(folder / "test.txt", "0 5\n")


def pairs(folder: Path) -> None:
    """Beauty.txt: "each line contains a user id and item id (starting from 1) meaning an interaction (sorted by timestamp)".
    https://github.com/kang205/SASRec (README)
    """
    write(folder / "Beauty.txt", lines(f"{e.user + 1} {e.item + 1}" for e in events()))

"""Every public dataset with what writes small files of its shape, and what is read from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.known_datasets import films, shops, texts
from tests.known_datasets.log import EVENTS


class Known(NamedTuple):
    """A dataset: what writes its files, how many events it has, and values of an event and an item of it."""

    write: Callable[[Path], None]
    event: dict[str, Any]
    item: dict[str, Any]
    events: int = EVENTS


KNOWN = {
    "movielens-100k": Known(films.movielens_100k, {"rating": 2.0}, {"title": "Fílm 11 (1995)", "category_path": ["Horror"]}),
    "movielens-1m": Known(films.movielens_1m, {"rating": 2.0}, {"title": "Fílm 11: a tale (1995)", "category_path": ["Drama", "War"]}),
    "movielens-10m": Known(films.movielens_10m, {"rating": 0.5}, {"title": "Fílm 2 (1995)", "category_path": ["Comedy"]}),
    "movielens-20m": Known(films.movielens_csv, {"rating": 0.5}, {"title": "Fílm, The 2 (1995)", "category_path": ["Comedy", "Crime"]}),
    "netflix-prize": Known(films.netflix_prize, {"rating": 2.0}, {"title": "Fílm 11, or: a tale", "attrs": [("year", "2001")]}),
    "kuairec": Known(films.kuairec, {"event_type": "play", "dwell_s": 8.0, "progress": 1.0}, {"tags": ["11", "9"], "item_type": "video"}),
    "retailrocket": Known(shops.retailrocket, {"event_type": "view"}, {"category_path": ["0", "1", "3"]}),
    "rees46": Known(shops.rees46, {"event_type": "add_to_cart"}, {"creator_id": "lúcente", "price": 35.79}, EVENTS * 4 // 5),
    "yoochoose": Known(shops.yoochoose, {"event_type": "click", "session_id": "0"}, {}, EVENTS + 40),
    "diginetica": Known(shops.diginetica, {"event_type": "view", "session_id": "0"}, {"category_path": ["3"]}, EVENTS + 40),
    "taobao": Known(shops.taobao, {"event_type": "like"}, {}),
    "hm": Known(shops.hm, {"event_type": "purchase"}, {"item_id": "0663713011", "title": "Strap top (11)"}),
    "instacart": Known(shops.instacart, {"event_type": "purchase"}, {"category_path": ["produce", "bread"]}),
    "otto": Known(shops.otto, {"event_type": "add_to_cart"}, {}),
    "home-depot": Known(shops.home_depot, {"rating": 1.33, "query_text": "bracket 0"}, {"title": "Angle 11 ½ in."}),
    "open-bandit": Known(shops.open_bandit, {"event_type": "click"}, {"tags": ["aa", "bb2", "cc"]}),
    "amazon-2014": Known(texts.amazon_2014, {"rating": 2.0}, {"title": "Girls' tutu 11", "category_path": ["Sports & Outdoors", "Dance"]}),
    "amazon-2018": Known(texts.amazon_2018, {"rating": 2.0}, {"title": "Tutu & Co 11", "price": 1003.17}),
    "amazon-2023": Known(texts.amazon_2023, {"rating": 2.0, "attrs": [("asin", "B000000011")]}, {"title": "Balm 2", "price": 9.99}),
    "yelp": Known(texts.yelp, {"rating": 2.0}, {"title": "Garaje 11", "tags": ["Mexican", "Burgers"]}),
    "goodreads": Known(texts.goodreads, {"event_type": "rating"}, {"title": "Poems 11 (Series, #1)", "language": "eng"}),
    "goodreads-csv": Known(texts.goodreads_csv, {"event_type": "rating"}, {}),
    "book-crossing": Known(texts.book_crossing, {"rating": 8.0}, {"title": 'Café & Co "11"; a tale', "creator_id": "J. Doe"}),
    "steam": Known(texts.steam, {"event_type": "play", "dwell_s": 5400.0}, {"tags": ["Strategy", "Indie"], "creator_id": "Kotoshiro"}),
    "lastfm-360k": Known(texts.lastfm_360k, {"event_type": "play"}, {"title": 'The "Band" 11'}),
    "lastfm-1k": Known(texts.lastfm_1k, {"event_type": "play"}, {"title": "Deep Dish / Flashdance 11"}),
    "mind": Known(texts.mind, {"event_type": "click"}, {"title": 'The "11" of golf', "category_path": ["sports", "golf"]}),
    "gowalla": Known(texts.gowalla, {"event_type": "view"}, {}),
    "assistments-2009": Known(texts.assistments_2009, {"event_type": "quiz"}, {"category_path": ["Mode"]}),
    "assistments-2009-table": Known(texts.assistments_2009_table, {"event_type": "quiz"}, {"category_path": ["Café skill 1"]}),
    "interactions": Known(texts.interactions, {"event_type": "view"}, {"tags": ["2", "7"]}),
    "sequences": Known(texts.sequences, {"event_type": "view"}, {}),
    "pairs": Known(texts.pairs, {"event_type": "view"}, {}),
}

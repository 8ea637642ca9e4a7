"""Films and videos: MovieLens, Netflix, KuaiRec."""

from pathlib import Path

from tests.known_datasets.log import EVENTS_EACH, ITEM, USER, events, lines, write

MANY_GENRES = ("Drama", "War", "Comedy", "(no genres listed)")


def movielens_100k(folder: Path) -> None:
    """u.data: user id | item id | rating | timestamp, "tab separated"; u.item: movie id | movie title | release date | video release date |
    IMDb URL | unknown | Action | … | Western |; u.user: user id | age | gender | occupation | zip code.
    https://files.grouplens.org/datasets/movielens/ml-100k-README.txt
    """
    write(folder / "u.data", lines(f"{e.user}\t{e.item}\t{e.rating}\t{e.time_s - 400_000_000}" for e in events()))
    genres = ["|".join(str(int(genre == item % 19)) for genre in range(19)) for item in ITEM]
    films = (f"{item}|Fílm {item} (1995)|01-Jan-1995||http://us.imdb.com/{item}|{genres[item]}" for item in ITEM)
    write(folder / "u.item", lines(films), "latin1")
    write(folder / "u.user", lines(f"{user}|{20 + user}|M|writer|1010{user % 10}" for user in USER))
    write(folder / "u.genre", "unknown|0\nAction|1\n")


def movielens_1m(folder: Path) -> None:
    """ratings.dat: UserID::MovieID::Rating::Timestamp; users.dat: UserID::Gender::Age::Occupation::Zip-code; movies.dat:
    MovieID::Title::Genres. https://files.grouplens.org/datasets/movielens/ml-1m-README.txt
    """
    write(folder / "ratings.dat", lines(f"{e.user}::{e.item}::{e.rating}::{e.time_s}" for e in events()))
    write(folder / "movies.dat", lines(f"{item}::Fílm {item}: a tale (1995)::Drama|War" for item in ITEM), "latin1")
    write(folder / "users.dat", lines(f"{user}::{'FM'[user % 2]}::25::3::0{user:04}" for user in USER))


def movielens_10m(folder: Path) -> None:
    """ratings.dat: UserID::MovieID::Rating::Timestamp, "half-star increments"; movies.dat: MovieID::Title::Genres, "encoded as UTF-8";
    tags.dat: UserID::MovieID::Tag::Timestamp. https://files.grouplens.org/datasets/movielens/ml-10m-README.html
    """
    ratings = (f"{e.user}::{e.item}::{e.rating if e.place % 2 else f'{e.rating - 0.5:g}'}::{e.time_s}" for e in events())
    write(folder / "ratings.dat", lines(ratings))
    write(folder / "movies.dat", lines(f"{item}::Fílm {item} (1995)::{MANY_GENRES[item % 4]}" for item in ITEM))
    write(folder / "tags.dat", lines(f"{e.user}::{e.item}::fine::{e.time_s}" for e in events() if e.place == 0))


def movielens_csv(folder: Path) -> None:
    """ratings.csv: userId,movieId,rating,timestamp; movies.csv: movieId,title,genres; tags.csv: userId,movieId,tag,timestamp; links.csv:
    movieId,imdbId,tmdbId. https://files.grouplens.org/datasets/movielens/ml-25m-README.html
    """
    rated = (f"{e.user},{e.item},{e.rating - 0.5 * (e.rating < 4)},{e.time_s}" for e in events())
    write(folder / "ratings.csv", lines(["userId,movieId,rating,timestamp"], rated))
    films = (f'{item},"Fílm, The {item} (1995)",{MANY_GENRES[item % 4]}|Crime' for item in ITEM)
    write(folder / "movies.csv", lines(["movieId,title,genres"], films))
    write(folder / "tags.csv", "userId,movieId,tag,timestamp\n1,1,fine,1300000000\n")
    write(folder / "links.csv", lines(["movieId,imdbId,tmdbId"], (f"{item},0{item},{item}" for item in ITEM)))


def netflix_prize(folder: Path) -> None:
    """combined_data_1.txt: "The first line of each file contains the movie id followed by a colon. Each subsequent line in the file
    corresponds to a rating from a customer and its date in the following format: CustomerID,Rating,Date"; movie_titles.csv:
    "MovieID,YearOfRelease,Title". https://www.kaggle.com/datasets/netflix-inc/netflix-prize-data (README)
    """
    log = list(events())
    for part in (1, 2):
        films = [item for item in ITEM if item % 2 == part % 2]
        blocks = ([f"{item}:", *(f"{e.user},{e.rating},{e.at:%Y-%m-%d}" for e in log if e.item == item)] for item in films)
        write(folder / f"combined_data_{part}.txt", lines(*blocks))
    titles = (f"{item},{'NULL' if item == 3 else 1990 + item % 15},Fílm {item}, or: a tale" for item in ITEM)
    write(folder / "movie_titles.csv", lines(titles), "latin1")


def kuairec(folder: Path) -> None:
    """big_matrix.csv: user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio; item_categories.csv: video_id,feat;
    user_features.csv: user_id,user_active_degree,is_lowactive_period,…. https://github.com/chongminggao/KuaiRec (README)
    """
    header = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio"
    plays = [
        f"{e.user},{e.item},{e.rating * 4000},8000,{e.at:%Y-%m-%d %H:%M:%S}.438,{e.at:%Y%m%d},{e.time_s}.438,{e.rating * 0.5}"
        for e in events()
    ]
    write(folder / "data" / "big_matrix.csv", lines([header], plays))
    write(folder / "data" / "small_matrix.csv", lines([header], plays[:EVENTS_EACH]))
    features = (f'{item},"[{item % 31}, 9]"' for item in ITEM)
    write(folder / "data" / "item_categories.csv", lines(["video_id,feat"], features))
    degrees = (f"{user},full_active,0" for user in USER)
    write(folder / "data" / "user_features.csv", lines(["user_id,user_active_degree,is_lowactive_period"], degrees))

"""The experiment: data -> victim -> client update (defended) -> leak -> attack -> metrics -> record."""

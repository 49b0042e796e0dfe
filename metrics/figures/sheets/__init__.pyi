from .drawings import sheet_drawings as sheet_drawings
